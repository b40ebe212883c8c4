// gdn_prefill on compute capability 9.0: segments of long sequences, S' = M S + N from a segment's first state to the next's.
//
// N is the recurrence from zero (of the first segment from the sequence's state, and then it is S' itself), M the recurrence
// without values from the identity: the update without outputs. |M| <= e^G of the segment, G its sum of log_g, so where e^G < 2^-25
// the term M S is below fp32's rounding: M is not made, and N starts where the rest of the segment decays as far.
#pragma once

#include "ops/gdn_prefill/sm90_update.cuh"

namespace sluice::gdn_sm90 {

inline constexpr float kForgotten = -25.0f;  // log2
inline constexpr int kJoinRows = 8;          // rows of S^T a block
inline constexpr int kJoinLists = 2;         // of sequences that are joined at a time
inline constexpr int kJoinParts = 4;         // of the sum over k, one a warpgroup
inline constexpr int kJoinThreads = kJoinParts * kDim;

// Chunks that a unit may leave out at its start, by one warp.
__device__ inline int forgotten_chunks(const Params& p, const Unit& u) {
  const int lane = threadIdx.x % 32;
  float after = 0;
  for (int end = u.chunks; end > 0; end -= 32) {
    const int c = end - 1 - lane;
    float sum = c >= 0 ? p.solved[int64_t(u.chunk + c) * p.HV + u.head].gates.sum[kC - 1] : 0.0f;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const float later = __shfl_up_sync(0xffffffffu, sum, d);
      if (lane >= d) sum += later;
    }
    const uint32_t enough = __ballot_sync(0xffffffffu, c >= 0 && after + sum < kForgotten);
    if (enough) return end - __ffs(enough);
    after += __shfl_sync(0xffffffffu, sum, 31);
  }
  return 0;
}

// S' of a unit without outputs.
__device__ inline void map_unit(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
  if (!u.keep) return;
  float s[64], d[32];
  uint32_t s16[8][4], w[4][4], u16[4][4];
  float2 gamma[8], factors[8];
  if (u.slot >= 0) {  // the sequence's first segment: the state is kept for the update, before which nothing writes the pool
    load_pool(u, Pool(p, u), at, s);
    store_state(segment_state(p.states, p, u.state, u.head), at, s);
  }
  if (u.slot < 0 || u.forgotten)
#pragma unroll
    for (int i = 0; i < 64; ++i) s[i] = u.identity && at.v + i / 2 % 2 * 8 == i / 4 * 8 + at.column + i % 2 ? 1.0f : 0.0f;
  for (int c = 0; c < u.chunks; ++c, ++n) {
    const Turn<kStages> turn(n);
    const Stage& stage = sm.stages[turn.stage];
    const Gates& gates = stage.solved.gates;
    const uint32_t kq = ptx::shared_address(&stage.kq);
    pack_operand(s, s16);
    turn.wait_full(sm.full);
    if (u.identity)
#pragma unroll
      for (auto& x : w) x[0] = x[1] = x[2] = x[3] = 0;
    else load_values(at, ptx::shared_address(stage.v) + at.group * kTile, w);
    multiply_keys(d, s16, ptx::wgmma_operand(kq, 0, 1024));
    load_factors(gates.decay, at, gamma);
    load_factors(gates.rest, at, factors);
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    subtract_known(gamma, d, w);
    multiply_solved(d, w, ptx::wgmma_operand(ptx::shared_address(&stage.solved), 0, 1024), false);
    const float whole = gates.whole;
#pragma unroll
    for (float& x : s) x *= whole;
    ptx::wgmma_wait<0>();
    ptx::pin(d);
    scale_rows(factors, d);
    pack_operand(d, u16);
    add_keys(s, u16, ptx::wgmma_operand(kq, 2 * kTile, 1024));
    ptx::wgmma_wait<0>();
    ptx::pin(s);
    warp_arrive(&sm.empty[turn.stage]);
  }
  store_state(u.identity ? segment_state(p.maps, p, u.state, u.head) : segment_state(p.states, p, u.state + 1, u.head), at, s);
}

struct MapUnits {
  static constexpr bool kMap = true;
  __device__ static int32_t* next(const Params& p) { return &p.counts->next_map; }
  // Twice a head of a segment: N, then M. Called by a whole warp. `slot` >= 0 only for the sequence's first segment.
  __device__ static Unit make(const Params& p, int index) {
    const int state = index / 2 / p.HV, head = index / 2 % p.HV;
    if (state >= p.counts->cuts) return {.head = -1};
    Unit u = make_unit(p, p.cuts[state], head);
    const bool begins = u.chunk == p.first_chunk[u.seq], ends = u.chunk + u.chunks == p.first_chunk[u.seq + 1];
    u.identity = index % 2;
    u.keep = !ends && !(u.identity && begins);
    if (!begins) u.slot = -1;
    const int skip = u.keep ? forgotten_chunks(p, u) : 0;
    if (u.identity && threadIdx.x % 32 == 0) p.mapped[state * p.HV + head] = u.keep && skip == 0;
    if (!u.keep || (u.identity && skip)) return {.head = head};
    if (skip) {
      u.row += u.first + (skip - 1) * kC, u.first = kC, u.chunks -= skip, u.chunk += skip;
      u.forgotten = 1;
    }
    return u;
  }
  __device__ static void run(const Params& p, const Unit& u, UpdateShared& sm, const StatePlace& at, uint32_t n) {
    map_unit(p, u, sm, at, n);
  }
};

__global__ void __launch_bounds__(kUpdateThreads, 1) gdn_prefill_sm90_map(const __grid_constant__ Params p) {
  run_block<MapUnits>(p);
}

// S' = M S + N along the sequence that starts at `cut`, in fp32: rows `row` on of S^T of a head. Thread k of each part has column
// k, and a quarter of the sum.
__device__ inline void join_segments(const Params& p, int cut, int head, int row) {
  constexpr int kTerms = kDim / kJoinParts, kOwn = kJoinRows / kJoinParts;
  __shared__ __align__(16) float s[kDim][kJoinRows];
  __shared__ float sums[kJoinParts][kJoinRows][kDim];
  const int k = threadIdx.x % kDim, part = threadIdx.x / kDim, last = p.first_cut[p.segments[p.cuts[cut]].seq + 1] - 1;
  const auto state = [&](int c) { return segment_state(p.states, p, c, head) + row * kDim + k; };
  bool loaded = false;
  for (++cut; cut < last; ++cut) {  // the first segment's N is the second's state
    if (!p.mapped[cut * p.HV + head]) {
      loaded = false;
      continue;
    }
    const float* m = segment_state(p.maps, p, cut, head) + part * kTerms * kDim + k;
    float x[kTerms], own[kOwn], next[kJoinRows] = {};
#pragma unroll
    for (int i = 0; i < kTerms; ++i) x[i] = m[i * kDim];
#pragma unroll
    for (int v = 0; v < kOwn; ++v) {
      own[v] = state(cut + 1)[(part * kOwn + v) * kDim];
      if (!loaded) s[k][part * kOwn + v] = state(cut)[(part * kOwn + v) * kDim];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kTerms; ++i) {
      const float4 a = *reinterpret_cast<const float4*>(&s[part * kTerms + i][0]);
      const float4 b = *reinterpret_cast<const float4*>(&s[part * kTerms + i][4]);
      next[0] += a.x * x[i], next[1] += a.y * x[i], next[2] += a.z * x[i], next[3] += a.w * x[i];
      next[4] += b.x * x[i], next[5] += b.y * x[i], next[6] += b.z * x[i], next[7] += b.w * x[i];
    }
#pragma unroll
    for (int v = 0; v < kJoinRows; ++v) sums[part][v][k] = next[v];
    __syncthreads();
#pragma unroll
    for (int v = 0; v < kOwn; ++v) {
      const int r = part * kOwn + v;
      own[v] += sums[0][r][k] + sums[1][r][k] + sums[2][r][k] + sums[3][r][k];
      state(cut + 1)[r * kDim] = s[k][r] = own[v];
    }
    loaded = true;
  }
  __syncthreads();
}

// Block (i, y): rows 8i on of S^T of head y % HV, of every kJoinLists-th cut sequence.
__global__ void __launch_bounds__(kJoinThreads) gdn_prefill_sm90_join(const __grid_constant__ Params p) {
  cuda::wait_for_previous_kernel();
  cuda::let_next_kernel_start();
  const int cuts = p.counts->cuts;
  int sequence = 0;
  for (int cut = 0; cut < cuts; ++cut)
    if (p.segments[p.cuts[cut]].chunk == 0 && sequence++ % kJoinLists == int(blockIdx.y) / p.HV)
      join_segments(p, cut, blockIdx.y % p.HV, blockIdx.x * kJoinRows);
}

}  // namespace sluice::gdn_sm90
