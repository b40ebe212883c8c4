// gdn_prefill on compute capability 9.0: what a block of map and update holds in shared memory, and the two warps that fill it.
#pragma once

#include "ops/gdn_prefill/sm90_solve.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kStages = 3;  // one group solves a chunk while the other takes S through the two before it
inline constexpr int kUnitStages = 2;
inline constexpr int kStateWarps = 8;

struct UpdateShared {
  KeysQueries rows[kStages];
  uint8_t values[kStages][2 * kTile];  // 64 features a tile
  Solved solved[kStages];
  uint8_t out[kStateWarps][kC * 32];  // one warp's 16 columns of O
  Inverses inverses[2];
  Gates gates[kStages];
  Unit units[kUnitStages];
  // `rows_full`: K and Q by the copy engine, and the gates. `done`: the chunk is in the state of both groups.
  uint64_t rows_full[kStages], values_full[kStages], solved_full[kStages], done[kStages], unit_full[kUnitStages],
      unit_empty[kUnitStages], tail;
  uint32_t chunks;  // of all units of this block, once the last unit is known
};

__device__ inline void init_barriers(UpdateShared& sm) {
  for (auto& bar : sm.rows_full) ptx::mbarrier_init(&bar, 2);
  for (auto& bar : sm.done) ptx::mbarrier_init(&bar, kStateWarps);
  for (auto& bar : sm.values_full) ptx::mbarrier_init(&bar, 1);
  for (auto& bar : sm.solved_full) ptx::mbarrier_init(&bar, kStateWarps / 2);
  for (auto& bar : sm.unit_full) ptx::mbarrier_init(&bar, 1);
  for (auto& bar : sm.unit_empty) ptx::mbarrier_init(&bar, kStateWarps + 1);  // the gate warp takes units too
  ptx::mbarrier_init(&sm.tail, 2);                                            // rows and values
  ptx::fence_barrier_init();
}

__device__ inline Unit uniform(const Unit& u) {
  Unit r;
#pragma unroll
  for (int i = 0; i < kUnitWords; ++i) reinterpret_cast<int*>(&r)[i] = uniform(reinterpret_cast<const int*>(&u)[i]);
  return r;
}

// A unit by a whole warp, a word a lane: one access where its fields would be as many.
__device__ inline Unit fetch_unit(const Unit* from, int head) {
  const int lane = threadIdx.x % 32, word = reinterpret_cast<const int*>(from)[min(lane, kUnitWords - 1)];
  Unit u;
#pragma unroll
  for (int i = 0; i < kUnitWords; ++i) reinterpret_cast<int*>(&u)[i] = __shfl_sync(0xffffffffu, word, i);
  u.head = head;
  return u;
}

// K and, for outputs, Q of a chunk's rows.
template <bool Map>
__device__ inline void load_rows(const Params& p, KeysQueries& to, int key_head, int row, uint64_t* bar) {
  ptx::mbarrier_arrive_expect(bar, Map ? 2 * kTile : sizeof(KeysQueries));
  ptx::tma_load_3d(to.k0, &p.k, 0, key_head, row, bar);
  ptx::tma_load_3d(to.k1, &p.k, 64, key_head, row, bar);
  if constexpr (Map) return;
  ptx::tma_load_3d(to.q0, &p.q, 0, key_head, row, bar);
  ptx::tma_load_3d(to.q1, &p.q, 64, key_head, row, bar);
}

// V of a chunk, and what `solve` made of it. M's values are zero.
template <bool Map>
__device__ inline void load_values(const Params& p, const Unit& u, uint8_t* to, Solved& solved, int chunk, int row, uint64_t* bar) {
  const uint32_t values = u.identity ? 0 : 2 * kTile, bytes = !p.solved ? 0 : Map ? kTile : sizeof(Solved);
  ptx::mbarrier_arrive_expect(bar, values + bytes);
  if (bytes) ptx::bulk_load(&solved, &p.solved[int64_t(u.index + chunk) * p.HV + u.head], bytes, bar);
  if (values == 0) return;
  ptx::tma_load_3d(to, &p.v, 0, u.head, row, bar);
  ptx::tma_load_3d(to + kTile, &p.v, 64, u.head, row, bar);
}

// A chunk of `rows` rows, the n-th of this block. The rest of a short one is cleared.
template <bool Map>
__device__ inline void load_chunk(const Params& p, UpdateShared& sm, const Unit& u, int chunk, int row, int rows, uint32_t n,
                                  uint32_t& tails) {
  const Turn<kStages> turn(n);
  KeysQueries& kq = sm.rows[turn.stage];
  uint8_t* values = sm.values[turn.stage];
  const bool leader = threadIdx.x % 32 == 0, whole = rows == kC;
  uint64_t* rows_full = whole ? &sm.rows_full[turn.stage] : &sm.tail;
  uint64_t* values_full = whole ? &sm.values_full[turn.stage] : &sm.tail;
  turn.wait_empty(sm.done);
  if (leader) {
    load_rows<Map>(p, kq, u.head / (p.HV / p.HK), row, rows_full);
    load_values<Map>(p, u, values, sm.solved[turn.stage], chunk, row, values_full);
  }
  if (whole) return;
  ptx::mbarrier_wait(&sm.tail, tails++ % 2);
  for (uint8_t* tile : {kq.k0, kq.k1, values, values + kTile}) clear_tail(tile, rows);
  ptx::fence_proxy_async();
  warp_arrive(&sm.rows_full[turn.stage]);
  warp_arrive(&sm.values_full[turn.stage]);
}

// After n chunks there are no more: whoever looks for the next one is told so. By the load warp, for the gate warp too.
__device__ inline void end_chunks(UpdateShared& sm, uint32_t n) {
  const Turn<kStages> turn(n);
  if (threadIdx.x % 32 == 0) sm.chunks = n;
  turn.wait_empty(sm.done);
  warp_arrive(&sm.rows_full[turn.stage]), warp_arrive(&sm.rows_full[turn.stage]);
}

// The load warp: hands out the units and loads their rows. Units without rows come last, so that nobody who looks ahead for a chunk
// waits for one of them to be taken.
template <class Units>
__device__ inline void load_units(const Params& p, UpdateShared& sm) {
  const int lane = threadIdx.x % 32;
  int index = blockIdx.x;
  bool ended = false;
  const auto hand_out = [&](uint32_t i, const Unit& u) {
    const Turn<kUnitStages> turn(i);
    turn.wait_empty(sm.unit_empty);
    if (lane == 0) sm.units[turn.stage] = u;
    warp_arrive(&sm.unit_full[turn.stage]);
  };
  for (uint32_t i = 0, n = 0, tails = 0;;) {
    const Unit u = Units::make(p, index);
    if (u.chunks == 0 && !ended) {
      ended = Units::kSorted || u.head < 0;
      if (ended) end_chunks(sm, n);
    }
    if (u.chunks || Units::kSorted || u.head < 0) hand_out(i++, u);
    if (u.head < 0) return;
    if (lane == 0 && u.slot >= 0 && !u.fresh && u.state < 0) {
      const int bytes = p.bf16_state ? 2 : 4;
      ptx::bulk_prefetch(static_cast<const char*>(p.s) + Pool(p, u).s * bytes, kDim * kDim * bytes);
    }
    for (int c = 0, row = u.row, rows = u.first; c < u.chunks; ++c, row += rows, rows = min(kC, u.end - row))
      load_chunk<Units::kMap>(p, sm, u, c, row, rows, n++, tails);
    if (lane == 0) index = gridDim.x + atomicAdd(Units::next(p), 1);
    index = uniform(index);
  }
}

__device__ inline uint32_t twice_fp16(float x) { return ptx::pack_fp16(x, x); }

// What e^{G_i-G_j} is made of, from G in shared memory; this lane's rows are 2l and 2l + 1.
__device__ inline void make_decays(const GateInputs& in, float scale, Gates& to) {
  __syncwarp();
  const int lane = threadIdx.x % 32, i = 2 * lane, block = lane / 8;
  const float2 g = two(to.sum + i);
  const auto ahead = [&](int b) { return b ? to.sum[16 * b - 1] : 0.0f; };
  const float2 a = {ptx::exp2_approx(g.x - ahead(block)), ptx::exp2_approx(g.y - ahead(block))};
  *reinterpret_cast<uint2*>(to.row_d[i]) = {twice_fp16(in.beta[0]), twice_fp16(in.beta[1])};
  *reinterpret_cast<uint2*>(to.row_l[i]) = {twice_fp16(in.beta[0] * a.x), twice_fp16(in.beta[1] * a.y)};
#pragma unroll
  for (int b = 1; b < 4; ++b)
    if (block < b)
      *reinterpret_cast<uint32_t*>(&to.column[b - 1][i]) =
          ptx::pack_fp16(ptx::exp2_approx(ahead(b) - g.x), ptx::exp2_approx(ahead(b) - g.y));
  *reinterpret_cast<uint2*>(to.row_p[i]) = {twice_fp16(scale * a.x), twice_fp16(scale * a.y)};
  const int row = lane / 2, column = lane % 2 * 8;
#pragma unroll
  for (int b = 0; b < 4; ++b) {
    const float sum = to.sum[16 * b + row];
    uint32_t d[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float2 other = two(to.sum + 16 * b + column + 2 * e);
      const int j = column + 2 * e;
      const float x = ptx::exp2_approx(sum - other.x), y = ptx::exp2_approx(sum - other.y);
      d[e] = ptx::pack_fp16(j <= row ? x : 0.0f, j + 1 <= row ? y : 0.0f);  // above the diagonal the exponent may overflow
    }
    *reinterpret_cast<uint4*>(&to.diagonal[b][row][column]) = {d[0], d[1], d[2], d[3]};
  }
}

// Calls f(unit, n) for every unit; n counts the chunks of the block before it. By one warp.
template <class F>
__device__ inline void each_unit(UpdateShared& sm, F f) {
  for (uint32_t i = 0, n = 0;; ++i) {
    const Turn<kUnitStages> turn(i);
    turn.wait_full(sm.unit_full);
    const Unit u = uniform(sm.units[turn.stage]);
    warp_arrive(&sm.unit_empty[turn.stage]);
    if (u.head < 0) return;
    f(u, n);
    n += u.chunks;
  }
}

// The gate warp: every chunk's factors, its inputs asked for one chunk ahead.
template <bool Ahead>
__device__ inline void make_all_gates(const Params& p, UpdateShared& sm) {
  each_unit(sm, [&](const Unit& u, uint32_t n) {
    GateInputs in(p, u.head, u.row, u.first);
    for (int c = 0, row = u.row, rows = u.first; c < u.chunks; ++c) {
      const int closed = c + 1 < u.chunks ? rows : u.closed;
      row += rows, rows = min(kC, u.end - row);
      const GateInputs next(p, u.head, row, rows);
      const Turn<kStages> turn(n + c);
      turn.wait_empty(sm.done);
      Gates& gates = sm.gates[turn.stage];
      make_gates(in, p.scale, closed, gates);
      if constexpr (!Ahead) make_decays(in, p.scale, gates);
      warp_arrive(&sm.rows_full[turn.stage]);
      in = next;
    }
  });
}

}  // namespace sluice::gdn_sm90
