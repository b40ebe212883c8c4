// gdn_prefill on compute capability 9.0: the recurrence over chunks and the outputs.
#pragma once

#include "ops/gdn_prefill/sm90_load.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kUpdateThreads = 3 * kGroup;  // two state groups, and one of which two warps work
// Registers a thread: 56 + 2 * 224 = 504 = 3 * 168, what the launch gives out.
inline constexpr int kLoadRegisters = 56, kStateRegisters = 224;
inline constexpr int kStateBarrier = 1, kSolveBarrier = 2;  // of the 16 hardware barriers; the second is one a group

// This lane's place: rows `v` and `v` + 8 of S^T (columns of V); columns 8n + `column` and one more of every fragment.
struct StatePlace {
  int group = uniform(threadIdx.x / kGroup), warp = uniform(threadIdx.x / 32 % 4), lane = threadIdx.x % 32;
  int v = 64 * group + 16 * warp + lane / 4, column = lane % 4 * 2;
};

__device__ inline void clear_state(float (&s)[64]) {
#pragma unroll
  for (float& x : s) x = 0;
}

// S^T [V, K]
__device__ inline void load_state(const float* from, const StatePlace& at, float (&s)[64]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const float* x = from + at.v * kDim + 8 * n + at.column;
    const float2 a = two(x), b = two(x + 8 * kDim);
    s[4 * n] = a.x, s[4 * n + 1] = a.y, s[4 * n + 2] = b.x, s[4 * n + 3] = b.y;
  }
}
__device__ inline void load_state(const __nv_bfloat16* from, const StatePlace& at, float (&s)[64]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const __nv_bfloat16* x = from + at.v * kDim + 8 * n + at.column;
    const uint32_t a = *reinterpret_cast<const uint32_t*>(x), b = *reinterpret_cast<const uint32_t*>(x + 8 * kDim);
    s[4 * n] = __uint_as_float(a << 16), s[4 * n + 1] = __uint_as_float(a & 0xffff0000u);
    s[4 * n + 2] = __uint_as_float(b << 16), s[4 * n + 3] = __uint_as_float(b & 0xffff0000u);
  }
}

__device__ inline void store_state(float* to_state, const StatePlace& at, const float (&s)[64]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    float* to = to_state + at.v * kDim + 8 * n + at.column;
    *reinterpret_cast<float2*>(to) = {s[4 * n], s[4 * n + 1]};
    *reinterpret_cast<float2*>(to + 8 * kDim) = {s[4 * n + 2], s[4 * n + 3]};
  }
}
__device__ inline void store_state(__nv_bfloat16* to_state, const StatePlace& at, const float (&s)[64]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    __nv_bfloat16* to = to_state + at.v * kDim + 8 * n + at.column;
    *reinterpret_cast<uint32_t*>(to) = ptx::pack_bf16(s[4 * n], s[4 * n + 1]);
    *reinterpret_cast<uint32_t*>(to + 8 * kDim) = ptx::pack_bf16(s[4 * n + 2], s[4 * n + 3]);
  }
}

// S as of the last row seen: the stored state and the rows of the open chunk.
__device__ inline void load_pool(const Params& p, const Unit& u, const StatePlace& at, float (&s)[64]) {
  const Pool pool(p, u);
  if (u.fresh) clear_state(s);
  else if (p.bf16_state) load_state(static_cast<const __nv_bfloat16*>(p.s) + pool.s, at, s);
  else load_state(static_cast<const float*>(p.s) + pool.s, at, s);
  if (u.open == 0) return;
  const float last = pool.g[u.open - 1], decay = ptx::exp2_approx(kLog2E * last);
#pragma unroll
  for (float& x : s) x *= decay;
  for (int j = 0; j < u.open; ++j) {
    const float rest = ptx::exp2_approx(kLog2E * (last - pool.g[j]));
    const float a = rest * pool.u[j * kDim + at.v], b = rest * pool.u[j * kDim + at.v + 8];
#pragma unroll
    for (int n = 0; n < 16; ++n) {
      const float2 k = two(pool.k + j * kDim + 8 * n + at.column);
      s[4 * n] += a * k.x, s[4 * n + 1] += a * k.y, s[4 * n + 2] += b * k.x, s[4 * n + 3] += b * k.y;
    }
  }
  ptx::named_barrier(kStateBarrier, 2 * kGroup);  // all rows are read before any is written
}

__device__ inline void load_first_state(const Params& p, const Unit& u, const StatePlace& at, float (&s)[64]) {
  if (u.state < 0) load_pool(p, u, at, s);
  else load_state(segment_state(p.states, p, u.state, u.head), at, s);
}

__device__ inline void store_pool(const Params& p, const Unit& u, const StatePlace& at, const float (&s)[64]) {
  const Pool pool(p, u);
  if (p.bf16_state) store_state(static_cast<__nv_bfloat16*>(p.s) + pool.s, at, s);
  else store_state(static_cast<float*>(p.s) + pool.s, at, s);
}

// fp32 fragments to bf16 operands: D[64, 8n..8n+15] is A[64, 16] of step n / 2.
template <int Steps, int N>
__device__ inline void pack_operand(const float (&d)[N], uint32_t (&a)[Steps][4]) {
#pragma unroll
  for (int s = 0; s < Steps; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) a[s][e] = ptx::pack_bf16(d[8 * s + 2 * e], d[8 * s + 2 * e + 1]);
}

// S K^T and S Q^T. The two sums alternate: one alone would wait for its own last step.
__device__ inline void multiply_state(float (&sk)[32], float (&sq)[32], const uint32_t (&s)[8][4], uint64_t k) {
  ptx::wgmma_fence();
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const uint64_t at = ptx::wgmma_advance(k, n / 4 * 2 * kTile + n % 4 * 32);
    ptx::wgmma_m64n64k16_bf16<ptx::Major::kSummed>(sk, s[n], at, n > 0);
    ptx::wgmma_m64n64k16_bf16<ptx::Major::kSummed>(sq, s[n], ptx::wgmma_advance(at, kTile), n > 0);
  }
  ptx::wgmma_commit();
}

// S K^T alone.
__device__ inline void multiply_keys(float (&sk)[32], const uint32_t (&s)[8][4], uint64_t k) {
  ptx::wgmma_fence();
#pragma unroll
  for (int n = 0; n < 8; ++n)
    ptx::wgmma_m64n64k16_bf16<ptx::Major::kSummed>(sk, s[n], ptx::wgmma_advance(k, n / 4 * 2 * kTile + n % 4 * 32), n > 0);
  ptx::wgmma_commit();
}

// D (+)= W^T X^T, X = T or P T.
__device__ inline void multiply_solved(float (&d)[32], const uint32_t (&w)[4][4], uint64_t x, bool accumulate) {
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < 4; ++i)
    ptx::wgmma_m64n64k16_fp16<ptx::Major::kSummed>(d, w[i], ptx::wgmma_advance(x, i * 32), accumulate || i > 0);
  ptx::wgmma_commit();
}

// S^T += U^T K
__device__ inline void add_keys(float (&s)[64], const uint32_t (&u)[4][4], uint64_t k) {
  ptx::pin(s);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < 4; ++i)
    ptx::wgmma_m64n128k16_bf16<ptx::Major::kOther>(s, u[i], ptx::wgmma_advance(k, i * 16 * kRowBytes), true);
  ptx::wgmma_commit();
}

// This warp's part of V^T as bf16 fragments.
__device__ inline void load_value_operand(const StatePlace& at, uint32_t tile, uint32_t (&v)[4][4]) {
  const uint32_t lane_at = (at.lane / 16 * 8 + at.lane % 8) * kRowBytes + (((2 * at.warp + at.lane / 8 % 2) ^ (at.lane % 8)) * 16);
#pragma unroll
  for (int s = 0; s < 4; ++s) ptx::ldmatrix_x4_trans(v[s], tile + s * 16 * kRowBytes + lane_at);
}

// This lane's factors of the chunk's rows.
__device__ inline void load_factors(const float* factors, const StatePlace& at, float2 (&f)[8]) {
  const uint32_t from = ptx::shared_address(factors + at.column);
#pragma unroll
  for (int n = 0; n < 8; ++n) f[n] = ptx::load_shared_2(from + 32 * n);
}

// W^T = V^T - gamma o S K^T as fp16 operands, in the place of V^T.
__device__ inline void subtract_known(const float2 (&gamma)[8], const float (&known)[32], uint32_t (&w)[4][4]) {
#pragma unroll
  for (int s = 0; s < 4; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float2 f = gamma[2 * s + e / 2];
      const float* x = known + 8 * s + 2 * e;
      w[s][e] = ptx::pack_fp16(__uint_as_float(w[s][e] << 16) - f.x * x[0], __uint_as_float(w[s][e] & 0xffff0000u) - f.y * x[1]);
    }
}

__device__ inline void scale_rows(const float2 (&f)[8], float (&d)[32]) {
#pragma unroll
  for (int n = 0; n < 8; ++n) d[4 * n] *= f[n].x, d[4 * n + 1] *= f[n].y, d[4 * n + 2] *= f[n].x, d[4 * n + 3] *= f[n].y;
}

// Rows of the last chunk that stay open, to the pool.
__device__ inline void store_open_u(const Unit& u, const Pool& pool, const StatePlace& at, int rows, const float (&d)[32]) {
#pragma unroll
  for (int n = 0; n < 8; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int i = 8 * n + at.column + e;
      if (i < u.closed || i >= rows) continue;
      float* to = pool.u + (u.open_at + i - u.closed) * kDim + at.v;
      to[0] = d[4 * n + e], to[8] = d[4 * n + 2 + e];
    }
}

// G of the rows that stay open, on top of that of the open row ahead of them.
__device__ inline void store_open_g(const Unit& u, const Pool& pool, const Gates& gates, const StatePlace& at, int rows) {
  if (at.group != 0 || at.warp != 0) return;
  const float base = u.closed ? gates.sum[u.closed - 1] : 0.0f, before = u.open_at ? pool.g[u.open_at - 1] : 0.0f;
  for (int i = u.closed + at.lane; i < rows; i += 32) pool.g[u.open_at + i - u.closed] = before + (gates.sum[i] - base) / kLog2E;
}

// The keys of the open rows, by the last value head that needs the old ones.
__device__ inline void store_open_k(const Params& p, const Unit& u, const Pool& pool, const StatePlace& at, int rows) {
  if (at.group != 0 || at.warp != 0) return;
  const int group = p.HV / p.HK, key_head = u.head / group;
  int ticket = 0;
  __threadfence();
  if (at.lane == 0) ticket = atomicAdd(&p.tickets[u.seq * p.HK + key_head], 1);
  if (__shfl_sync(0xffffffffu, ticket, 0) != group - 1) return;
  __threadfence();
#pragma unroll 8
  for (int i = u.closed; i < rows; ++i) {
    const uint2 x =
        *reinterpret_cast<const uint2*>(p.k_rows + (u.end - rows + i) * p.k_row_stride + key_head * p.k_head_stride + 4 * at.lane);
    *reinterpret_cast<float4*>(pool.k + (u.open_at + i - u.closed) * kDim + 4 * at.lane) = {
        __uint_as_float(x.x << 16), __uint_as_float(x.x & 0xffff0000u), __uint_as_float(x.y << 16),
        __uint_as_float(x.y & 0xffff0000u)};
  }
}

// This warp's 16 columns of O, through shared memory: a whole chunk by the copy engine, a short one by row.
__device__ inline void store_output(const Params& p, UpdateShared& sm, const StatePlace& at, int head, int row, int rows,
                                    const float (&d)[32]) {
  uint8_t* out = sm.out[4 * at.group + at.warp];
  // Row i's two halves change places where i / 4 is odd: the swizzle of 32 bytes.
  const int i = at.lane / 16 * 8 + at.lane % 8, half = (at.lane / 8 ^ at.lane / 4) % 2, column = 64 * at.group + 16 * at.warp;
  const uint32_t to = ptx::shared_address(out) + i * 32 + half * 16;
  if (at.lane == 0) ptx::bulk_wait_read<0>();
  __syncwarp();
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t x[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = ptx::pack_bf16(d[8 * s + 2 * e], d[8 * s + 2 * e + 1]);
    ptx::stmatrix_x4_trans(to + 16 * s * 32, x[0], x[1], x[2], x[3]);
  }
  ptx::fence_proxy_async();
  __syncwarp();
  if (rows == kC) {
    if (at.lane == 0) ptx::tma_store_3d(&p.o_map, column, head, row, out), ptx::bulk_commit();
    return;
  }
  for (int j = at.lane; j < 2 * rows; j += 32)
    *reinterpret_cast<uint4*>(p.o + (row + j / 2) * p.o_row_stride + head * p.o_head_stride + column + j % 2 * 8) =
        *reinterpret_cast<const uint4*>(out + j / 2 * 32 + (j ^ j / 8) % 2 * 16);
  __syncwarp();
}

__device__ inline void clear_output(const Params& p, const Unit& u) {
  for (int i = threadIdx.x; i < (u.end - u.row) * (kDim / 8); i += 2 * kGroup)
    *reinterpret_cast<uint4*>(p.o + (u.row + i / (kDim / 8)) * p.o_row_stride + u.head * p.o_head_stride + i % (kDim / 8) * 8) =
        uint4{};
}

// What bf16 operands leave of fp32 fragments, as bf16 operands.
__device__ inline void pack_rest(const float (&d)[32], uint32_t (&a)[4][4]) {
#pragma unroll
  for (int s = 0; s < 4; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float* x = d + 8 * s + 2 * e;
      const uint32_t taken = ptx::pack_bf16(x[0], x[1]);
      a[s][e] = ptx::pack_bf16(x[0] - __uint_as_float(taken << 16), x[1] - __uint_as_float(taken & 0xffff0000u));
    }
}

__device__ inline void store_checkpoint(const Params& p, const Unit& u, const StatePlace& at, int c, const float (&s)[64]) {
  const int every = p.checkpoint_chunks;
  const int64_t row = p.checkpoint_cu[u.seq] + (u.position + c + 1) / every - 1 - p.start[u.seq] / kC / every;
  store_state(p.checkpoints + row * p.checkpoint_pitch + int64_t(u.head) * kDim * kDim, at, s);
}

// T and P T of a chunk, the n-th of this block, by one group.
template <bool Outputs>
__device__ inline void solve(UpdateShared& sm, float scale, int group, uint32_t n) {
  const Turn<kStages> turn(n);
  uint32_t kk[16], qk[16];
  turn.wait_full(sm.rows_full);
  if (n >= sm.chunks) return;
  multiply_rows<Outputs>(kk, qk, ptx::wgmma_operand(ptx::shared_address(&sm.rows[turn.stage]), 0, 1024));
  solve_head<Outputs>(Place(threadIdx.x % 32), kk, qk, sm.gates[turn.stage], sm.inverses[group], sm.solved[turn.stage], scale,
                      kSolveBarrier + group);
  warp_arrive(&sm.solved_full[turn.stage]);
}

// The chunks of all units of a block are one run. Before a group updates the n-th, it solves the next one if that has its parity:
// each takes every other chunk, also across the border of two units, and is at work on the state while the other solves. The first
// group starts with the very first chunk.
template <bool Outputs>
__device__ inline void solve_before(UpdateShared& sm, float scale, int group, uint32_t n) {
  const bool next = (n + 1) % 2 == group;
  if (next || n == 0) solve<Outputs>(sm, scale, group, next ? n + 1 : n);
}

// What a chunk's update reads.
struct ChunkAt {
  Turn<kStages> turn;
  uint32_t kq, v;
  uint64_t solved;
  const Gates& gates;
  __device__ ChunkAt(UpdateShared& sm, const StatePlace& at, uint32_t n)
      : turn(n),
        kq(ptx::shared_address(&sm.rows[turn.stage])),
        v(ptx::shared_address(sm.values[turn.stage]) + at.group * kTile),
        solved(ptx::wgmma_operand(ptx::shared_address(&sm.solved[turn.stage]), 0, 1024)),
        gates(sm.gates[turn.stage]) {}
};

// Chunks of one unit, the n-th of this block on. The chain is S K^T, U, S; all else fills its gaps.
template <bool Ahead>
__device__ inline void update_unit(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
  float s[64], d[32], out[32];  // d: S K^T, then U
  uint32_t s16[8][4], w[4][4], u16[4][4];
  float2 gamma[8], factors[8], rest[8];
  int row = u.row, rows = u.first;
  const int stored = u.keep ? u.chunks - 1 - (u.closed == 0) : -1;  // the last chunk that is folded into S
  load_first_state(p, u, at, s);
  for (int c = 0;; ++c) {
    if constexpr (!Ahead) solve_before<true>(sm, p.scale, at.group, n + c);
    const ChunkAt chunk(sm, at, n + c);
    const Gates& gates = chunk.gates;
    pack_operand(s, s16);
    chunk.turn.wait_full(sm.rows_full);
    multiply_state(d, out, s16, ptx::wgmma_operand(chunk.kq, 0, 1024));
    chunk.turn.wait_full(sm.values_full);
    load_value_operand(at, chunk.v, w);
    load_factors(gates.decay, at, gamma);
    ptx::wgmma_wait<0>();
    ptx::pin(d), ptx::pin(out);
    subtract_known(gamma, d, w);
    load_factors(gates.out, at, factors);
    load_factors(gates.rest, at, rest);
    if constexpr (!Ahead) chunk.turn.wait_full(sm.solved_full);
    multiply_solved(d, w, chunk.solved, false);
    scale_rows(factors, out);
    multiply_solved(out, w, ptx::wgmma_advance(chunk.solved, kTile), true);
    const float whole = gates.whole;
#pragma unroll
    for (float& x : s) x *= whole;
    ptx::wgmma_wait<1>();
    ptx::pin(d);
    if (c + 1 == u.chunks && u.closed < rows) store_open_u(u, Pool(p, u), at, rows, d);
    scale_rows(rest, d);
    pack_operand(d, u16);
    add_keys(s, u16, ptx::wgmma_operand(chunk.kq, 2 * kTile, 1024));
    ptx::wgmma_wait<1>();
    ptx::pin(out);
    store_output(p, sm, at, u.head, row, rows, out);
    ptx::wgmma_wait<0>();
    ptx::pin(s);
    const bool checkpoint = at_checkpoint(p, u, c);
    if (c == stored || checkpoint) {
      // Where keys are alike rows of U cancel in S, and only later chunks make their rounding good.
      pack_rest(d, u16);
      add_keys(s, u16, ptx::wgmma_operand(chunk.kq, 2 * kTile, 1024));
      ptx::wgmma_wait<0>();
      ptx::pin(s);
    }
    if (checkpoint) store_checkpoint(p, u, at, c, s);
    if (c + 1 == u.chunks) break;
    warp_arrive(&sm.done[chunk.turn.stage]);
    row += rows, rows = min(kC, u.end - row);
  }
  const int stage = Turn<kStages>(n + u.chunks - 1).stage;
  if (u.keep) store_pool(p, u, at, s);
  if (u.closed < rows) store_open_g(u, Pool(p, u), sm.gates[stage], at, rows), store_open_k(p, u, Pool(p, u), at, rows);
  warp_arrive(&sm.done[stage]);
}

// A sequence without rows that is new has a state of zeros.
__device__ inline void renew_pool(const Params& p, const Unit& u, const StatePlace& at) {
  float s[64];
  load_pool(p, u, at, s);
  store_pool(p, u, at, s);
}

template <bool Ahead>
struct UpdateUnits {
  static constexpr bool kMap = false, kSorted = true;
  __device__ static int32_t* next(const Params& p) { return &p.counts->next; }
  // Called by a whole warp.
  __device__ static Unit make(const Params& p, int index) {
    const int units = p.counts->segments * p.HV;
    const Unit u = fetch_unit(&p.units[min(index / p.HV, p.max_segments - 1)], index % p.HV);  // both accesses at once
    return index < units ? u : Unit{.head = -1};
  }
  __device__ static void run(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
    if (u.slot < 0) clear_output(p, u);
    else if (u.chunks) update_unit<Ahead>(p, u, sm, at, n);
    else if (u.keep) renew_pool(p, u, at);
  }
};

template <class Units>
__device__ inline void take_units(const Params& p, UpdateShared& sm) {
  const StatePlace at;
  each_unit(sm, [&](const Unit& u, uint32_t n) { Units::run(p, u, sm, at, n); });
  if (at.lane == 0) ptx::bulk_wait<0>();  // the copy engine still reads this block's memory
}

// What nobody writes of T stays zero.
__device__ inline void clear_triangles(UpdateShared& sm) {
  for (Solved& solved : sm.solved)
    for (int i = threadIdx.x; i < kTile / 16; i += kUpdateThreads) reinterpret_cast<uint4*>(solved.t)[i] = uint4{};
  ptx::fence_proxy_async();
}

// A block: the load warp, the gate warp and the two state groups, over units until there are none.
template <bool Ahead, class Units>
__device__ inline void run_block(const Params& p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  UpdateShared& sm = *reinterpret_cast<UpdateShared*>(memory);
  if (threadIdx.x == 0) init_barriers(sm), sm.chunks = UINT32_MAX;
  if (threadIdx.x == 2 * kGroup)
    for (const CUtensorMap* map : {&p.q, &p.k, &p.v, &p.o_map}) ptx::prefetch_tensor_map(map);
  clear_triangles(sm);
  __syncthreads();
  cuda::wait_for_previous_kernel();
  if (threadIdx.x >= 2 * kGroup) {
    ptx::set_max_registers_down<kLoadRegisters>();
    const int warp = threadIdx.x / 32 - 2 * kGroup / 32;
    if (warp == 0) load_units<Units>(p, sm);
    else if (warp == 1) make_all_gates<Ahead>(p, sm);
  } else {
    ptx::set_max_registers_up<kStateRegisters>();
    take_units<Units>(p, sm);
  }
}

// Ahead: `solve` ran before.
template <bool Ahead>
__global__ void __launch_bounds__(kUpdateThreads, 1) gdn_prefill_sm90_update(const __grid_constant__ Params p) {
  run_block<Ahead, UpdateUnits<Ahead>>(p);
}

}  // namespace sluice::gdn_sm90
