// gdn_prefill on compute capability 9.0: segments of long sequences, S' = M S + N from a segment's first state to the next's.
//
// N is the recurrence from zero (of the first segment from the sequence's state, and then it is S' itself), M the recurrence
// without values from the identity: the update without outputs. |M| <= e^G of the segment, G its sum of log_g, so where e^G < 2^-25
// the term M S is below fp32's rounding: M is not made, and N starts where the rest of the segment decays as far.
#pragma once

#include "ops/gdn_prefill/sm90_plan.cuh"
#include "ops/gdn_prefill/sm90_update.cuh"

namespace sluice::gdn_sm90 {

inline constexpr float kForgotten = -25.0f;  // log2
inline constexpr int kJoinParts = 4;         // of the sum over k, one a warpgroup
inline constexpr int kJoinThreads = kJoinParts * kDim;

// The last of the unit's chunks from which on the gates decay below 2^kForgotten, -1 where there is none. By one warp, backwards, a
// few chunks at a time.
__device__ inline int forgotten_chunks(const Params& p, const Unit& u) {
  constexpr int kAtOnce = 4;
  const int lane = threadIdx.x % 32;
  float after = 0;
  for (int end = u.chunks; end > 0; end -= kAtOnce) {
    float sum[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int c = end - 1 - i, begin = c <= 0 ? u.row : u.row + u.first + (c - 1) * kC;
      const int stop = c < 0 ? begin : min(u.row + u.first + c * kC, u.end);
      sum[i] = 0;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = begin + lane + 32 * e;
        if (row < stop) sum[i] += p.log_g[row * p.log_g_stride + u.head];
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
#pragma unroll
      for (int d = 16; d > 0; d /= 2) sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], d);
      after += kLog2E * sum[i];
      if (after < kForgotten) return end - 1 - i;
    }
  }
  return -1;
}

// S' of a unit without outputs.
template <bool Ahead>
__device__ inline void map_unit(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
  float s[64], d[32];
  uint32_t s16[8][4], w[4][4], u16[4][4];
  float2 gamma[8], rest[8];
  if (u.begins) {  // the state is kept for the update, before which nothing writes the pool
    load_pool(p, u, at, s);
    store_state(segment_state(p.states, p, u.state, u.head), at, s);
  }
  if (!u.begins || u.forgotten)
#pragma unroll
    for (int i = 0; i < 64; ++i) s[i] = u.identity && at.v + i / 2 % 2 * 8 == i / 4 * 8 + at.column + i % 2 ? 1.0f : 0.0f;
  for (int c = 0; c < u.chunks; ++c) {
    if constexpr (!Ahead) solve_before<false>(sm, p.scale, at.group, n + c);
    const ChunkAt chunk(sm, at, n + c);
    pack_operand(s, s16);
    chunk.turn.wait_full(sm.rows_full);
    multiply_keys(d, s16, ptx::wgmma_operand(chunk.kq, 0, 1024));
    chunk.turn.wait_full(sm.values_full);
    if (u.identity)
#pragma unroll
      for (auto& x : w) x[0] = x[1] = x[2] = x[3] = 0;
    else load_value_operand(at, chunk.v, w);
    load_factors(chunk.gates.decay, at, gamma);
    load_factors(chunk.gates.rest, at, rest);
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    subtract_known(gamma, d, w);
    if constexpr (!Ahead) chunk.turn.wait_full(sm.solved_full);
    multiply_solved(d, w, chunk.solved, false);
    const float whole = chunk.gates.whole;
#pragma unroll
    for (float& x : s) x *= whole;
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    scale_rows(rest, d);
    pack_operand(d, u16);
    add_keys(s, u16, ptx::wgmma_operand(chunk.kq, 2 * kTile, 1024));
    ptx::wgmma_wait<0>();
    ptx::pin(s);
    warp_arrive(&sm.done[chunk.turn.stage]);
  }
  store_state(u.identity ? segment_state(p.maps, p, u.state, u.head) : segment_state(p.states, p, u.state + 1, u.head), at, s);
}

template <bool Ahead>
struct MapUnits {
  static constexpr bool kMap = true, kSorted = false;
  __device__ static int32_t* next(const Params& p) { return &p.counts->next_map; }
  // Twice a head of a segment: all N, then all M. Called by a whole warp.
  __device__ static Unit make(const Params& p, int index) {
    const int cuts = p.counts->cuts, half = cuts * p.HV;
    if (index >= 2 * half) return {.head = -1};
    Unit u = fetch_unit(&p.cut_units[index % half / p.HV], index % p.HV);
    u.identity = index / half;
    const bool nothing = u.ends || (u.identity && u.begins);
    const int skip = nothing ? -1 : forgotten_chunks(p, u);
    if (u.identity && threadIdx.x % 32 == 0) p.mapped[u.state * p.HV + u.head] = !nothing && skip < 0;
    if (nothing || (u.identity && skip >= 0)) return {.head = u.head, .slot = -1};
    if (skip > 0) u.row += u.first + (skip - 1) * kC, u.first = kC, u.chunks -= skip, u.index += skip;
    u.forgotten = skip >= 0;
    return u;
  }
  __device__ static void run(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
    if (u.slot >= 0) map_unit<Ahead>(p, u, sm, at, n);
  }
};

template <bool Ahead>
__global__ void __launch_bounds__(kUpdateThreads, 1) gdn_prefill_sm90_map(const __grid_constant__ Params p) {
  run_block<Ahead, MapUnits<Ahead>>(p);
}

// Memory of a block of `join`: M and N's rows of two segments, so that one arrives while the other is used.
template <int Rows>
struct JoinShared {
  float m[2][kDim][kDim], n[2][Rows][kDim];
  float s[kDim][Rows], sums[kJoinParts][Rows][kDim];
  uint64_t full[2];
  int steps[kMaxCuts], count;  // segments whose M is needed
};

// Lists the segments from `first` on to the sequence's last whose M is needed, by one warp; returns the one after its last.
template <int Rows>
__device__ inline int list_steps(const Params& p, JoinShared<Rows>& sm, int first, int head) {
  const int lane = threadIdx.x % 32, cuts = p.counts->cuts;
  for (int base = first, count = 0;; base += 32) {
    const int cut = base + lane;
    const bool exists = cut < cuts, last = exists && p.cut_units[cut].ends;
    const bool mapped = exists && p.mapped[cut * p.HV + head];
    const uint32_t ends = __ballot_sync(0xffffffffu, last || !exists);
    const uint32_t here = __ballot_sync(0xffffffffu, mapped) & (ends ? (ends & -ends) - 1 : 0xffffffffu);
    if (here >> lane & 1) sm.steps[count + __popc(here & ((1u << lane) - 1))] = cut;
    count += __popc(here);
    if (lane == 0) sm.count = count;
    if (ends) return base + __ffs(ends);
  }
}

// M and N's rows of a step, the n-th of this block.
template <int Rows>
__device__ inline void fetch_step(const Params& p, JoinShared<Rows>& sm, int step, uint32_t n, int head, int row) {
  if (threadIdx.x != 0 || step >= sm.count) return;
  const int cut = sm.steps[step], stage = n % 2;
  ptx::mbarrier_arrive_expect(&sm.full[stage], sizeof sm.m[0] + sizeof sm.n[0]);
  ptx::bulk_load(sm.m[stage], segment_state(p.maps, p, cut, head), sizeof sm.m[0], &sm.full[stage]);
  ptx::bulk_load(sm.n[stage], segment_state(p.states, p, cut + 1, head) + row * kDim, sizeof sm.n[0], &sm.full[stage]);
}

// S' = M S + N along one sequence, in fp32: rows `row` on of S^T of a head; `n` counts this block's steps. Thread k of each part
// has column k, and a quarter of the sum.
template <int Rows>
__device__ inline void join_segments(const Params& p, JoinShared<Rows>& sm, int head, int row, uint32_t& n) {
  constexpr int kTerms = kDim / kJoinParts, kOwn = Rows / kJoinParts;
  const int k = threadIdx.x % kDim, part = threadIdx.x / kDim;
  const auto state = [&](int cut, int r) { return segment_state(p.states, p, cut, head) + (row + r) * kDim + k; };
  fetch_step(p, sm, 0, n, head, row), fetch_step(p, sm, 1, n + 1, head, row);
  for (int i = 0; i < sm.count; ++i, ++n) {
    const int cut = sm.steps[i], stage = n % 2;
    if (i == 0 || sm.steps[i - 1] != cut - 1)  // the state before this segment is the N of one that needs no M
#pragma unroll
      for (int v = 0; v < kOwn; ++v) sm.s[k][part * kOwn + v] = *state(cut, part * kOwn + v);
    ptx::mbarrier_wait(&sm.full[stage], n / 2 % 2);
    __syncthreads();
    float next[Rows] = {};
#pragma unroll 8
    for (int j = part * kTerms; j < (part + 1) * kTerms; ++j) {
      const float x = sm.m[stage][j][k];
#pragma unroll
      for (int r = 0; r < Rows; r += 4) {
        const float4 s = *reinterpret_cast<const float4*>(&sm.s[j][r]);
        next[r] += s.x * x, next[r + 1] += s.y * x, next[r + 2] += s.z * x, next[r + 3] += s.w * x;
      }
    }
#pragma unroll
    for (int r = 0; r < Rows; ++r) sm.sums[part][r][k] = next[r];
    __syncthreads();
#pragma unroll
    for (int v = 0; v < kOwn; ++v) {
      const int r = part * kOwn + v;
      const float x = sm.n[stage][r][k] + sm.sums[0][r][k] + sm.sums[1][r][k] + sm.sums[2][r][k] + sm.sums[3][r][k];
      *state(cut + 1, r) = sm.s[k][r] = x;
    }
    __syncthreads();
    fetch_step(p, sm, i + 2, n + 2, head, row);
  }
}

// Blocks take every so many-th pair of a head and `Rows` rows of S^T.
template <int Rows>
__global__ void __launch_bounds__(kJoinThreads) gdn_prefill_sm90_join(const __grid_constant__ Params p) {
  extern __shared__ __align__(1024) uint8_t memory[];
  JoinShared<Rows>& sm = *reinterpret_cast<JoinShared<Rows>*>(memory);
  __shared__ int next_cut;
  if (threadIdx.x == 0) {
    for (auto& bar : sm.full) ptx::mbarrier_init(&bar, 1);
    ptx::fence_barrier_init();
  }
  cuda::wait_for_previous_kernel();
  constexpr int kSlices = kDim / Rows;
  const int cuts = p.counts->cuts;
  uint32_t n = 0;
  for (int task = blockIdx.x; cuts && task < kSlices * p.HV; task += gridDim.x)
    for (int cut = 0; cut < cuts; cut = next_cut) {
      __syncthreads();
      if (threadIdx.x < 32) {
        const int next = list_steps(p, sm, cut, task / kSlices);
        if (threadIdx.x == 0) next_cut = next;
      }
      __syncthreads();
      join_segments(p, sm, task / kSlices, task % kSlices * Rows, n);
    }
}

}  // namespace sluice::gdn_sm90
