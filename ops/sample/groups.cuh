// Rows of logits in kernels, for all operators that read logits. A row is cut into groups of 256, the work of a warp and the unit
// of summation, so that no sum depends on a grid: a lane has four neighbours of each half of a group. Few groups are a row's, at
// most one for each thread of a block.
#pragma once

#include <climits>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"

namespace sluice::logits {

using cuda::kWarp;

inline constexpr int kGroup = 256, kOfLane = kGroup / kWarp;
inline constexpr int kMostGroups = 1024;
inline constexpr int64_t kMostVocab = int64_t(kMostGroups) * kGroup;
inline constexpr unsigned kAll = 0xffffffffu;

__host__ __device__ inline int groups_of(int64_t vocab) { return int((vocab + kGroup - 1) / kGroup); }

// Groups that a warp of a first pass reads at once, where there are enough for all of the GPU: what is under way then keeps its
// memory busy.
inline constexpr int kAtOnce = 2;
inline bool scans_several(const Context& ctx, int64_t rows, int64_t groups) {
  constexpr int64_t kWarpsOfMultiprocessor = 64;
  return rows * groups > kWarpsOfMultiprocessor * ctx.gpu->sms;
}

// Integers in the order of the floats. -0 is 0.
using Key = uint32_t;
inline constexpr Key kNoKey = 0;                                     // below all
inline constexpr Key kNeverKey = 0x007fffff, kMostKey = 0xff7fffff;  // of -inf, and of the largest finite one
inline constexpr Key kNanKey = 0xffffffff;

__device__ inline Key key_of(float x) {
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ inline float value_of(Key key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }

__device__ inline bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }
__device__ inline int lane() { return int(threadIdx.x) % kWarp; }
__device__ inline int warp() { return int(threadIdx.x) / kWarp; }

// Place in its group of a lane's i-th logit.
__device__ inline int place_of(int i) { return i / 4 * (kGroup / 2) + lane() * 4 + i % 4; }

// A lane's logits of a group; -inf past the row's end.
__device__ inline void load_group(const float* row, int vocab, int group, float (&x)[kOfLane]) {
  const bool aligned = reinterpret_cast<uintptr_t>(row) % sizeof(float4) == 0;
#pragma unroll
  for (int half = 0; half < kOfLane; half += 4) {
    const int at = group * kGroup + place_of(half);
    if (aligned && at + 4 <= vocab) {
      const float4 v = *reinterpret_cast<const float4*>(row + at);
      x[half] = v.x, x[half + 1] = v.y, x[half + 2] = v.z, x[half + 3] = v.w;
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) x[half + j] = at + j < vocab ? row[at + j] : -INFINITY;
    }
  }
}

// Whether any of a group's logits is NaN or infinite, in every lane: 0 * x is 0 for all others.
__device__ inline bool any_not_finite(const float (&x)[kOfLane], int vocab, int group) {
  const bool whole = (group + 1) * kGroup <= vocab;
  float zero = 0;
#pragma unroll
  for (int i = 0; i < kOfLane; ++i) zero = whole || group * kGroup + place_of(i) < vocab ? fmaf(x[i], 0, zero) : zero;
  return __any_sync(kAll, zero != 0);
}

// Of logits that are no NaN.
__device__ inline Key group_max(const float (&x)[kOfLane]) {
  float most = x[0];
#pragma unroll
  for (int i = 1; i < kOfLane; ++i) most = fmaxf(most, x[i]);
  return __reduce_max_sync(kAll, key_of(most));
}

// What a group adds to the sum of e^x of its row: sum times e^max.
struct Mass {
  float max, sum;
};

__device__ inline Mass group_mass(const float (&x)[kOfLane], float max) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kOfLane; ++i) sum += __expf(x[i] - max);
  return {max, cuda::group_sum(sum)};
}

// --- results of a block, in each of its threads; all of them call ---

// What the functions below use; one of them at a time.
struct BlockMemory {
  double sum[kWarp];
  uint32_t word[kWarp];
};

template <class Join>
__device__ uint32_t join_block(uint32_t x, uint32_t none, BlockMemory& m, Join join) {
  __syncthreads();
  x = join(x);
  if (lane() == 0) m.word[warp()] = x;
  __syncthreads();
  return join(lane() < int(blockDim.x) / kWarp ? m.word[lane()] : none);
}
__device__ inline uint32_t block_max(uint32_t x, BlockMemory& m) {
  return join_block(x, 0, m, [](uint32_t v) { return __reduce_max_sync(kAll, v); });
}
__device__ inline uint32_t block_min(uint32_t x, BlockMemory& m) {
  return join_block(x, UINT_MAX, m, [](uint32_t v) { return __reduce_min_sync(kAll, v); });
}
__device__ inline uint32_t block_sum(uint32_t x, BlockMemory& m) {
  return join_block(x, 0, m, [](uint32_t v) { return __reduce_add_sync(kAll, v); });
}

__device__ inline double warp_scan(double x) {  // inclusive
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const double y = __shfl_up_sync(kAll, x, d);
    if (lane() >= d) x += y;
  }
  return x;
}
__device__ inline double warp_sum(double x) {
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) x += __shfl_xor_sync(kAll, x, d);
  return x;
}
__device__ inline double block_sum(double x, BlockMemory& m) {
  __syncthreads();
  x = warp_sum(x);
  if (lane() == 0) m.sum[warp()] = x;
  __syncthreads();
  return warp_sum(lane() < int(blockDim.x) / kWarp ? m.sum[lane()] : 0);
}

struct Running {
  double until;  // the sum of the threads up to this one
  double all;
};
__device__ inline Running block_scan(double x, BlockMemory& m) {
  __syncthreads();
  const double mine = warp_scan(x);
  if (lane() == kWarp - 1) m.sum[warp()] = mine;
  __syncthreads();
  const double warps = warp_scan(lane() < int(blockDim.x) / kWarp ? m.sum[lane()] : 0);
  const double before = warp() > 0 ? __shfl_sync(kAll, warps, warp() - 1) : 0;
  return {before + mine, __shfl_sync(kAll, warps, kWarp - 1)};
}

// --- a row, by a block of kMostGroups threads, each of which has a group ---

// Groups in order of (largest logit down, number up), as integers down.
__device__ inline uint64_t rank_of_group(Key max, int group) { return uint64_t(max) * kMostGroups + (kMostGroups - 1 - group); }

// The rank of the n-th best group, or 0 where there are fewer. The n best tokens lie in the n best groups: each of these has one
// that comes before all tokens of the groups behind it.
__device__ inline uint64_t rank_of_best(uint64_t mine, int n) {
  constexpr int kBits = 42;
  static_assert(uint64_t(kMostGroups) << 32 == uint64_t(1) << kBits);
  uint64_t rank = 0;
  for (int bit = kBits - 1; bit >= 0; --bit) {
    const uint64_t higher = rank | uint64_t(1) << bit;
    const int count = __syncthreads_count(mine >= higher);
    if (count >= n) rank = higher;
    if (count == n) break;
  }
  return rank;
}

// The log of the sum of e^x over a row, relative to `max`, its largest x.
__device__ inline double log_of_sum(Mass mine, float max, BlockMemory& m) {
  return log(block_sum(double(mine.sum) * double(__expf(mine.max - max)), m));
}

}  // namespace sluice::logits
