// gdn_prefill on compute capability 9.0: the recurrence over chunks and the outputs.
//
// Warps 0 to 7 are two state groups, 64 rows of S^T each; warp 8 loads. They meet only at the mbarriers of the stages.
#pragma once

#include "ops/gdn_prefill/sm90.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kUpdateThreads = 3 * kGroup;  // the load warp's three siblings do nothing
// Registers a thread: 40 + 2 * 232 = 504 = 3 * 168, what the launch gives out.
inline constexpr int kLoadRegisters = 40, kStateRegisters = 232;
inline constexpr int kStages = 3, kUnitStages = 2;
inline constexpr int kStateBarrier = 1;  // of the 16 hardware barriers

struct Stage {
  KeysQueries kq;
  uint8_t v[2 * kTile];  // 64 features a tile
  Solved solved;
  uint8_t pad[896];      // the next stage starts at a multiple of 1024
};

struct UpdateShared {
  Stage stages[kStages];
  uint8_t out[8][kC * kFragmentPitch];  // one warp's 16 columns of O
  Unit units[kUnitStages];
  uint64_t full[kStages], empty[kStages], unit_full[kUnitStages], unit_empty[kUnitStages], tail;
};

// The n-th use of a ring of N stages. A user of the stage waits for `full`, its filler for `empty`.
template <int N>
struct Turn {
  int stage;
  uint32_t phase;
  __device__ explicit Turn(uint32_t n) : stage(n % N), phase(n / N % 2) {}
  __device__ void wait_full(uint64_t (&full)[N]) const { ptx::mbarrier_wait(&full[stage], phase); }
  __device__ void wait_empty(uint64_t (&empty)[N]) const { ptx::mbarrier_wait(&empty[stage], phase ^ 1); }
};

// One arrival of a warp, after all of its lanes.
__device__ inline void warp_arrive(uint64_t* bar) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(bar);
}

__device__ inline Unit make_unit(const Params& p, int index) {
  Unit u{.head = -1};
  if (index >= p.B * p.HV) return u;
  u.seq = p.order[index / p.HV], u.head = index % p.HV;
  u.slot = p.slots[u.seq], u.row = p.cu_seqlens[u.seq], u.end = p.cu_seqlens[u.seq + 1];
  if (u.slot < 0) return u;
  const int start = p.start[u.seq], stop = start + u.end - u.row, multiple = stop - stop % p.capacity;
  const Span first = chunk_span(p, u.seq, 0);
  u.first = first.rows, u.chunks = first.chunks, u.chunk = p.first_chunk[u.seq];
  u.fresh = p.has_state ? p.has_state[u.seq] == 0 : start == 0;
  u.open = u.fresh ? 0 : start % p.capacity;
  u.closed = closed_rows(p, u.seq, u.chunks == 1 ? u.first : (u.end - u.row - u.first - 1) % kC + 1);
  u.keep = u.fresh || multiple > start;
  u.open_at = multiple > start ? 0 : u.open;
  return u;
}

__device__ inline Unit uniform(const Unit& u) {
  return {.head = uniform(u.head), .seq = uniform(u.seq), .slot = uniform(u.slot), .row = uniform(u.row), .end = uniform(u.end),
          .first = uniform(u.first), .chunks = uniform(u.chunks), .chunk = uniform(u.chunk), .open = uniform(u.open),
          .closed = uniform(u.closed), .open_at = uniform(u.open_at), .fresh = uniform(u.fresh), .keep = uniform(u.keep)};
}

// One chunk, the n-th of this block.
__device__ inline void load_chunk(const Params& p, UpdateShared& sm, const Unit& u, int chunk, int row, int rows, uint32_t n,
                                  uint32_t& tails) {
  const int lane = threadIdx.x % 32;
  const Turn<kStages> turn(n);
  Stage& stage = sm.stages[turn.stage];
  const bool whole = rows == kC;
  uint64_t* bar = whole ? &sm.full[turn.stage] : &sm.tail;
  turn.wait_empty(sm.empty);
  if (lane == 0) {
    ptx::mbarrier_arrive_expect(bar, sizeof(KeysQueries) + 2 * kTile + sizeof(Solved));
    load_keys_queries(p, stage.kq, u.head / (p.HV / p.HK), row, bar);
    ptx::tma_load_3d(stage.v, &p.v, 0, u.head, row, bar);
    ptx::tma_load_3d(stage.v + kTile, &p.v, 64, u.head, row, bar);
    ptx::bulk_load(&stage.solved, p.solved + int64_t(chunk) * p.HV + u.head, sizeof(Solved), bar);
  }
  if (whole) return;
  ptx::mbarrier_wait(&sm.tail, tails++ % 2);
  clear_tail<32>(stage.kq.k0, rows), clear_tail<32>(stage.kq.k1, rows);
  ptx::fence_proxy_async();
  warp_arrive(&sm.full[turn.stage]);
}

__device__ inline void load_chunks(const Params& p, UpdateShared& sm) {
  const int lane = threadIdx.x % 32;
  int index = blockIdx.x;
  for (uint32_t i = 0, n = 0, tails = 0;; ++i) {
    const Turn<kUnitStages> turn(i);
    turn.wait_empty(sm.unit_empty);
    if (lane == 0) sm.units[turn.stage] = make_unit(p, index);
    warp_arrive(&sm.unit_full[turn.stage]);
    __syncwarp();
    const Unit u = uniform(sm.units[turn.stage]);
    if (u.head < 0) return;
    for (int c = 0, row = u.row, rows = u.first; c < u.chunks; ++c, row += rows, rows = min(kC, u.end - row))
      load_chunk(p, sm, u, u.chunk + c, row, rows, n++, tails);
    if (lane == 0) index = gridDim.x + atomicAdd(p.next, 1);
    index = uniform(index);
  }
}

// This lane's place: rows `v` and `v` + 8 of S^T (columns of V); columns 8n + `column` and one more of every fragment.
struct StatePlace {
  int group = uniform(threadIdx.x / kGroup), warp = uniform(threadIdx.x / 32 % 4), lane = threadIdx.x % 32;
  int v = 64 * group + 16 * warp + lane / 4, column = lane % 4 * 2;
};

// This unit's slice of the pool.
struct Pool {
  float *s, *k, *u, *g;
  __device__ Pool(const Params& p, const Unit& u)
      : s(p.s + u.slot * p.s_pitch + int64_t(u.head) * kDim * kDim),
        k(p.open_k + u.slot * p.k_pitch + int64_t(u.head / (p.HV / p.HK)) * p.capacity * kDim),
        u(p.open_u + u.slot * p.u_pitch + int64_t(u.head) * p.capacity * kDim),
        g(p.open_g + u.slot * p.g_pitch + int64_t(u.head) * p.capacity) {}
};

// S as of the last row seen: the stored state and the rows of the open chunk.
__device__ inline void load_state(const Unit& u, const Pool& pool, const StatePlace& at, float (&s)[64]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    const float* from = pool.s + at.v * kDim + 8 * n + at.column;
    const float2 a = u.fresh ? float2{} : two(from), b = u.fresh ? float2{} : two(from + 8 * kDim);
    s[4 * n] = a.x, s[4 * n + 1] = a.y, s[4 * n + 2] = b.x, s[4 * n + 3] = b.y;
  }
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

__device__ inline void store_state(const Pool& pool, const StatePlace& at, const float (&s)[64]) {
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    float* to = pool.s + at.v * kDim + 8 * n + at.column;
    *reinterpret_cast<float2*>(to) = {s[4 * n], s[4 * n + 1]};
    *reinterpret_cast<float2*>(to + 8 * kDim) = {s[4 * n + 2], s[4 * n + 3]};
  }
}

// fp32 fragments to bf16 operands: D[64, 8n..8n+15] is A[64, 16] of step n / 2.
template <int Steps, int N>
__device__ inline void pack_operand(const float (&d)[N], uint32_t (&a)[Steps][4]) {
#pragma unroll
  for (int s = 0; s < Steps; ++s)
#pragma unroll
    for (int e = 0; e < 4; ++e) a[s][e] = ptx::pack_bf16(d[8 * s + 2 * e], d[8 * s + 2 * e + 1]);
}

// [S K^T | S Q^T]
__device__ inline void multiply_state(float (&d)[64], const uint32_t (&s)[8][4], uint64_t kq) {
  ptx::wgmma_fence();
#pragma unroll
  for (int n = 0; n < 8; ++n)
    ptx::wgmma_m64n128k16_bf16<ptx::Major::kSummed>(d, s[n], ptx::wgmma_advance(kq, n / 4 * 2 * kTile + n % 4 * 32), n > 0);
  ptx::wgmma_commit();
}

// W^T = V^T - gamma o S K^T as fp16 operands; the output half becomes scale gamma o S Q^T, the other is cleared.
__device__ inline void subtract_known(const Gates& gates, const StatePlace& at, uint32_t v_tile, int rows, float (&d)[64],
                                      uint32_t (&w)[4][4]) {
  const uint32_t lane_at = (at.lane / 16 * 8 + at.lane % 8) * kRowBytes + (((2 * at.warp + at.lane / 8 % 2) ^ (at.lane % 8)) * 16);
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t v[4];
    ptx::ldmatrix_x4_trans(v, v_tile + s * 16 * kRowBytes + lane_at);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int i = 16 * s + 8 * h + at.column;
      const float2 gamma = two(&gates.decay[i]), out_gamma = two(&gates.out[i]);
      float* known = d + 8 * s + 4 * h;
      float* out = known + 32;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint32_t x = v[2 * h + e];
        w[s][2 * h + e] = ptx::pack_fp16(__uint_as_float(x << 16) - gamma.x * known[2 * e],
                                         __uint_as_float(x & 0xffff0000u) - gamma.y * known[2 * e + 1]);
        known[2 * e] = known[2 * e + 1] = 0.0f;
        out[2 * e] *= out_gamma.x, out[2 * e + 1] *= out_gamma.y;
      }
    }
  }
  if (__builtin_expect(rows == kC, true)) return;
#pragma unroll
  for (int s = 0; s < 4; ++s)  // rows of the next sequence, perhaps not finite
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int i = 16 * s + e / 2 * 8 + at.column;
      w[s][e] &= i + 1 < rows ? 0xffffffffu : i < rows ? 0xffffu : 0u;
    }
}

// Rows of the last chunk that stay open, to the pool.
__device__ inline void store_open_u(const Unit& u, const Pool& pool, const StatePlace& at, int rows, const float (&d)[64]) {
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
  for (int i = u.closed + at.lane; i < rows; i += 32)
    pool.g[u.open_at + i - u.closed] = before + (gates.sum[i] - base) / kLog2E;
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
  for (int i = u.closed; i < rows; ++i) {
    const __nv_bfloat16* from = p.k_rows + (u.end - rows + i) * p.k_row_stride + key_head * p.k_head_stride;
    float* to = pool.k + (u.open_at + i - u.closed) * kDim;
    for (int d = at.lane; d < kDim; d += 32) to[d] = __bfloat162float(from[d]);
  }
}

// U decayed to the chunk's end, as bf16 operands.
__device__ inline void decay_u(const Gates& gates, const StatePlace& at, const float (&d)[64], uint32_t (&a)[4][4]) {
#pragma unroll
  for (int s = 0; s < 4; ++s)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float2 rest = two(&gates.rest[16 * s + 8 * h + at.column]);
      const float* x = d + 8 * s + 4 * h;
      a[s][2 * h] = ptx::pack_bf16(rest.x * x[0], rest.y * x[1]);
      a[s][2 * h + 1] = ptx::pack_bf16(rest.x * x[2], rest.y * x[3]);
    }
}

// This warp's 16 columns of O: transposed through shared memory, then 32 bytes a row; `o` is this lane's place in the chunk.
__device__ inline void store_output(UpdateShared& sm, const StatePlace& at, __nv_bfloat16* o, int64_t row_stride, int rows,
                                    const float (&d)[64]) {
  const uint32_t out = ptx::shared_address(sm.out[4 * at.group + at.warp]);
  const uint32_t to = out + (at.lane / 16 * 8 + at.lane % 8) * kFragmentPitch + at.lane / 8 % 2 * 16;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    uint32_t x[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = ptx::pack_bf16(d[32 + 8 * s + 2 * e], d[32 + 8 * s + 2 * e + 1]);
    ptx::stmatrix_x4_trans(to + 16 * s * kFragmentPitch, x[0], x[1], x[2], x[3]);
  }
  __syncwarp();
  const int i = at.lane / 2;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const uint4 x = ptx::load_shared(out + (i + 16 * s) * kFragmentPitch + at.lane % 2 * 16);
    if (i + 16 * s < rows) *reinterpret_cast<uint4*>(o + 16 * s * row_stride) = x;
  }
  __syncwarp();
}

__device__ inline void clear_output(const Params& p, const Unit& u) {
  for (int i = threadIdx.x; i < (u.end - u.row) * (kDim / 8); i += 2 * kGroup)
    *reinterpret_cast<uint4*>(p.o + (u.row + i / (kDim / 8)) * p.o_row_stride + u.head * p.o_head_stride + i % (kDim / 8) * 8) = uint4{};
}

// [U^T | O^T] += W^T [T | P T]^T
__device__ inline void multiply_solved(float (&d)[64], const uint32_t (&w)[4][4], uint64_t solved) {
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < 4; ++i) ptx::wgmma_m64n128k16_fp16<ptx::Major::kSummed>(d, w[i], ptx::wgmma_advance(solved, i * 32), true);
  ptx::wgmma_commit();
}

// S^T += U^T K
__device__ inline void add_keys(float (&s)[64], const uint32_t (&u)[4][4], uint64_t k) {
  ptx::pin(s);
  ptx::wgmma_fence();
#pragma unroll
  for (int i = 0; i < 4; ++i) ptx::wgmma_m64n128k16_bf16<ptx::Major::kOther>(s, u[i], ptx::wgmma_advance(k, i * 16 * kRowBytes), true);
  ptx::wgmma_commit();
}

// Chunks of one unit, the n-th of this block on.
__device__ inline void update_unit(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
  float s[64], d[64];
  uint32_t s16[8][4], a[4][4];
  load_state(u, Pool(p, u), at, s);
  __nv_bfloat16* o = p.o + (u.row + at.lane / 2) * p.o_row_stride + u.head * p.o_head_stride + 64 * at.group + 16 * at.warp +
                     at.lane % 2 * 8;
  int rows = u.first;
  for (int c = 0, left = u.end - u.row; c < u.chunks; ++c, ++n) {
    const Turn<kStages> turn(n);
    const Stage& stage = sm.stages[turn.stage];
    const Gates& gates = stage.solved.gates;
    const uint32_t kq = ptx::shared_address(&stage.kq);
    rows = c == 0 ? u.first : min(kC, left);
    left -= rows;
    pack_operand(s, s16);
    turn.wait_full(sm.full);
    multiply_state(d, s16, ptx::wgmma_operand(kq, 0, 1024));
    const float whole = gates.whole;
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    subtract_known(gates, at, ptx::shared_address(stage.v) + at.group * kTile, rows, d, a);
    multiply_solved(d, a, ptx::wgmma_operand(ptx::shared_address(&stage.solved), 0, 1024));
#pragma unroll
    for (float& x : s) x *= whole;
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    decay_u(gates, at, d, a);
    add_keys(s, a, ptx::wgmma_operand(kq, 2 * kTile, 1024));
    store_output(sm, at, o, p.o_row_stride, rows, d);
    o += rows * p.o_row_stride;
    ptx::wgmma_wait<0>();
    ptx::pin(s);
    if (c + 1 < u.chunks) warp_arrive(&sm.empty[turn.stage]);
  }
  const Pool pool(p, u);
  if (u.keep) store_state(pool, at, s);
  if (u.chunks == 0) return;
  const int stage = Turn<kStages>(n - 1).stage;
  if (u.closed < rows) store_open_u(u, pool, at, rows, d), store_open_g(u, pool, sm.stages[stage].solved.gates, at, rows);
  store_open_k(p, u, pool, at, rows);
  warp_arrive(&sm.empty[stage]);
}

__device__ inline void update_units(const Params& p, UpdateShared& sm) {
  const StatePlace at;
  for (uint32_t i = 0, n = 0;; ++i) {
    const Turn<kUnitStages> turn(i);
    turn.wait_full(sm.unit_full);
    const Unit u = uniform(sm.units[turn.stage]);
    warp_arrive(&sm.unit_empty[turn.stage]);
    if (u.head < 0) return;
    if (u.slot < 0)
      clear_output(p, u);
    else
      update_unit(p, u, sm, at, n);
    n += u.chunks;
  }
}

__global__ void __launch_bounds__(kUpdateThreads, 1) gdn_prefill_sm90_update(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  UpdateShared& sm = *reinterpret_cast<UpdateShared*>(memory);
  constexpr int kStateWarps = 8;
  if (threadIdx.x == 0) {
    for (auto& bar : sm.full) ptx::mbarrier_init(&bar, 1);
    for (auto& bar : sm.empty) ptx::mbarrier_init(&bar, kStateWarps);
    for (auto& bar : sm.unit_full) ptx::mbarrier_init(&bar, 1);
    for (auto& bar : sm.unit_empty) ptx::mbarrier_init(&bar, kStateWarps);
    ptx::mbarrier_init(&sm.tail, 1);
    ptx::fence_barrier_init();
  }
  __syncthreads();
  ptx::grid_dependency_wait();
  if (threadIdx.x >= 2 * kGroup) {
    ptx::set_max_registers_down<kLoadRegisters>();
    if (threadIdx.x < 2 * kGroup + 32) load_chunks(p, sm);
  } else {
    ptx::set_max_registers_up<kStateRegisters>();
    update_units(p, sm);
  }
}

}  // namespace sluice::gdn_sm90
