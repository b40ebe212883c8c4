// gdn_prefill on compute capability 10.0 and 10.3: the load warp and the gate warp.
#pragma once

#include "ops/gdn_prefill/sm100.cuh"

namespace sluice::gdn_sm100 {

// What follows a chunk's last key belongs to another sequence, or to nobody, and might not be finite.
__device__ inline void clear_tail(uint8_t* tile, int rows) {
  for (int i = rows * kRowBytes / 16 + threadIdx.x % 32; i < kTile / 16; i += 32) reinterpret_cast<uint4*>(tile)[i] = uint4{};
}

// K, Q and V of a chunk's rows.
__device__ inline void load_rows(const Params& p, Stage& to, const Unit& u, int row, uint64_t* bar) {
  const int key_head = u.head / (p.HV / p.HK);
  ptx::mbarrier_arrive_expect(bar, sizeof to.rows + sizeof to.values);
  ptx::tma_load_3d(to.rows.k0, &p.k, 0, key_head, row, bar);
  ptx::tma_load_3d(to.rows.k1, &p.k, 64, key_head, row, bar);
  ptx::tma_load_3d(to.rows.q0, &p.q, 0, key_head, row, bar);
  ptx::tma_load_3d(to.rows.q1, &p.q, 64, key_head, row, bar);
  ptx::tma_load_3d(to.values[0], &p.v, 0, u.head, row, bar);
  ptx::tma_load_3d(to.values[1], &p.v, 64, u.head, row, bar);
}

// The load warp. Of a short chunk K's rest is cleared: every product sums over its rows, but Q's and V's rows are only their own.
__device__ inline void load_chunks(const Params& p, Shared& sm) {
  uint32_t tails = 0;
  each_chunk(p, [&](const Unit& u, int c, uint32_t n) {
    const Turn turn(n);
    Stage& stage = sm.stages[turn.stage];
    const bool whole = u.rows_of(c) == kC;
    turn.wait_empty(sm.done);
    if (threadIdx.x % 32 == 0) load_rows(p, stage, u, u.row_of(c), whole ? &sm.full[turn.stage] : &sm.tail);
    if (whole) return;
    wait_chunk(sm.tail, tails++);
    clear_tail(stage.rows.k0, u.rows_of(c)), clear_tail(stage.rows.k1, u.rows_of(c));
    ptx::fence_proxy_async();
    warp_arrive(&sm.full[turn.stage]);
  });
}

// Factors of a chunk of `rows` rows from `row` on, of which `closed` are folded into the state. Lane l has rows 2l and 2l + 1.
__device__ inline void make_gates(const Params& p, int head, int row, int rows, int closed, Gates& to) {
  const int lane = threadIdx.x % 32, i = 2 * lane;
  float g[2], beta[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const bool here = i + e < rows;
    g[e] = here ? kLog2E * p.log_g[(row + i + e) * p.log_g_stride + head] : 0.0f;
    beta[e] = here ? p.beta[(row + i + e) * p.beta_stride + head] : 0.0f;
  }
  float sum = g[0] + g[1];  // over all rows up to 2l + 1
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const float below = __shfl_up_sync(0xffffffffu, sum, d);
    if (lane >= d) sum += below;
  }
  const float before = __shfl_up_sync(0xffffffffu, sum, 1);
  const float first = (lane ? before : 0.0f) + g[0];
  const int last = max(closed - 1, 0);
  const float even = __shfl_sync(0xffffffffu, first, last / 2), odd = __shfl_sync(0xffffffffu, sum, last / 2);
  const float whole = closed == 0 ? 0.0f : last % 2 ? odd : even;
  const float2 decay = {ptx::exp2_approx(first), ptx::exp2_approx(sum)};
  const auto store = [&](float* x, float2 y) { *reinterpret_cast<float2*>(x + i) = y; };
  store(to.sum, {first, sum}), store(to.beta, {beta[0], beta[1]});
  store(to.decay, decay), store(to.out, {p.scale * decay.x, p.scale * decay.y});
  store(to.rest, {i < closed ? ptx::exp2_approx(whole - first) : 0.0f, i + 1 < closed ? ptx::exp2_approx(whole - sum) : 0.0f});
  if (lane == 0) to.whole = ptx::exp2_approx(whole);
}

// The gate warp.
__device__ inline void make_all_gates(const Params& p, Shared& sm) {
  each_chunk(p, [&](const Unit& u, int c, uint32_t n) {
    const Turn turn(n);
    turn.wait_empty(sm.done);
    make_gates(p, u.head, u.row_of(c), u.rows_of(c), u.closed_of(c), sm.gates[turn.stage]);
    warp_arrive(&sm.full[turn.stage]);
  });
}

}  // namespace sluice::gdn_sm100
