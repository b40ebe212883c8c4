// Parts of the kernels. A row is cut into quads, runs of four scores that begin at multiples of 16 bytes: the first and the last
// may be incomplete. The k-th best key is found digit by digit from the top, by histograms of the keys that agree with the digits
// so far; then each warp takes neighbouring quads, counts what it will write, and writes it behind what the warps before it write.
#pragma once

#include <algorithm>

#include "core/cuda/rows.cuh"
#include "ops/index_topk/row.h"

namespace sluice::topk {

using cuda::kWarp;

// A key's digits, and where their bins lie among a row's.
inline constexpr int kDigits = 3, kAllBins = 5120;
constexpr int shift_of(int digit) { return digit == 0 ? 21 : digit == 1 ? 10 : 0; }
constexpr int bins_of(int digit) { return digit < 2 ? 2048 : 1024; }
constexpr int first_bin(int digit) { return digit * 2048; }
inline constexpr int kMostWarps = 32;  // of a block

// What a block's threads share, beside the keys.
struct Shared {
  uint32_t histogram[kAllBins];
  uint32_t warp_sum[kMostWarps];
  uint32_t bin, before, inside;                  // of find_bin()
  uint32_t above[kMostWarps], ties[kMostWarps];  // by warp
  uint32_t block_above, block_ties;
};

__device__ inline uint4 keys_of(float4 s) { return make_uint4(score_key(s.x), score_key(s.y), score_key(s.z), score_key(s.w)); }

struct Row {
  const float* begin;  // of quad 0, 16-byte aligned; its first `lead` places are not the row's
  int64_t length, quads;
  int lead;

  __device__ Row(const TopkRows& rows, int64_t row) : length(rows.length(row)) {
    const float* scores = rows.scores_of(row);
    lead = int(reinterpret_cast<uintptr_t>(scores) / sizeof(float) % 4);
    begin = scores - lead;
    quads = length > 0 ? (lead + length + 3) / 4 : 0;
  }
  // Index of a quad's first score; negative where the quad begins before the row.
  __device__ int64_t index(int64_t quad) const { return quad * 4 - lead; }
  __device__ uint4 keys(int64_t quad) const {
    const int64_t first = index(quad);
    const float* at = begin + quad * 4;
    if (first >= 0 && first + 4 <= length) return keys_of(*reinterpret_cast<const float4*>(at));
    const auto key = [&](int j) { return first + j >= 0 && first + j < length ? score_key(at[j]) : kNoScore; };
    return make_uint4(key(0), key(1), key(2), key(3));
  }
};

// The k-th best key, as far as it is known: keys in [key, key + 2^shift of the last digit) are still open.
struct Threshold {
  uint32_t key = 0, wanted = 0;  // of the keys that agree with the digits so far, this many are among the k best
  bool found = false;            // keys above `key` are all among the k best, and of those equal to it the first `wanted`

  __device__ explicit Threshold(int64_t k) : wanted(uint32_t(k)) {}
  template <int kDigit>
  __device__ bool agrees(uint32_t x) const {
    if constexpr (kDigit == 0) return true;
    else return ((x ^ key) >> shift_of(kDigit - 1)) == 0;
  }
  // Where a bin is wanted whole, all keys from its least on are taken.
  template <int kDigit>
  __device__ void take(uint32_t bin, uint32_t before, uint32_t inside) {
    key |= bin << shift_of(kDigit), wanted -= before;
    if (kDigit + 1 == kDigits) found = true;
    else if (wanted == inside && key > 0) found = true, --key, wanted = 0;
  }
};

__device__ inline uint32_t warp_scan(uint32_t x) {  // inclusive
  const int lane = int(threadIdx.x) % kWarp;
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const uint32_t y = __shfl_up_sync(0xffffffffu, x, d);
    if (lane >= d) x += y;
  }
  return x;
}

// The sum of x over the block's threads before this one.
template <int kThreads>
__device__ inline uint32_t block_scan(uint32_t x, Shared& s) {
  constexpr int kWarps = kThreads / kWarp;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const uint32_t scanned = warp_scan(x);
  if (lane == kWarp - 1) s.warp_sum[warp] = scanned;
  __syncthreads();
  const uint32_t before = lane < warp && lane < kWarps ? s.warp_sum[lane] : 0;
  return __reduce_add_sync(0xffffffffu, before) + scanned - x;
}

// Takes the bin of the digit, from the largest down, that the wanted number ends in. count(bin) is of the whole row.
template <int kThreads, int kDigit, class Count>
__device__ inline void take_digit(Threshold& t, Shared& s, Count&& count) {
  constexpr int kEach = bins_of(kDigit) / kThreads;
  uint32_t own[kEach], sum = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    own[i] = count(bins_of(kDigit) - 1 - (int(threadIdx.x) * kEach + i));
    sum += own[i];
  }
  uint32_t before = block_scan<kThreads>(sum, s);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (before < t.wanted && t.wanted <= before + own[i])
      s.bin = uint32_t(bins_of(kDigit) - 1 - (int(threadIdx.x) * kEach + i)), s.before = before, s.inside = own[i];
    before += own[i];
  }
  __syncthreads();
  t.take<kDigit>(s.bin, s.before, s.inside);
}

template <int kDigit>
__device__ inline void count_digit(const Threshold& t, uint4 keys, uint32_t* histogram) {
  const auto count = [&](uint32_t key) {
    if (t.agrees<kDigit>(key)) atomicAdd(&histogram[first_bin(kDigit) + (key >> shift_of(kDigit)) % bins_of(kDigit)], 1u);
  };
  count(keys.x), count(keys.y), count(keys.z), count(keys.w);
}

template <int kThreads>
__device__ inline void clear_histograms(Shared& s) {
  for (int i = int(threadIdx.x); i < kAllBins; i += kThreads) s.histogram[i] = 0;
}

// Bit j: whether key j of a quad is above the threshold; bit 16 + j: whether it equals it.
__device__ inline uint32_t compare(uint4 keys, uint32_t threshold) {
  const auto bits = [&](uint32_t key, int j) { return uint32_t(key > threshold) << j | uint32_t(key == threshold) << (16 + j); };
  return bits(keys.x, 0) | bits(keys.y, 1) | bits(keys.z, 2) | bits(keys.w, 3);
}

// Quads that a warp takes out of [0, quads) of its block.
template <int kThreads>
__device__ inline int64_t first_quad_of(int warp, int64_t quads) {
  return quads * warp / (kThreads / kWarp);
}

// Counts each warp's keys above and equal to the threshold, and the block's. keys(i): quad i of the block's.
template <int kThreads, class Keys>
__device__ inline void count_chosen(const Threshold& t, int64_t quads, Shared& s, Keys&& keys) {
  constexpr int kWarps = kThreads / kWarp;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  uint32_t above = 0, ties = 0;
  const int64_t last = first_quad_of<kThreads>(warp + 1, quads);
#pragma unroll 4
  for (int64_t i = first_quad_of<kThreads>(warp, quads) + lane; i < last; i += kWarp) {
    const uint32_t bits = compare(keys(i), t.key);
    above += __popc(bits & 0xffffu), ties += __popc(bits >> 16);
  }
  above = __reduce_add_sync(0xffffffffu, above), ties = __reduce_add_sync(0xffffffffu, ties);
  if (lane == 0) s.above[warp] = above, s.ties[warp] = ties;
  __syncthreads();
  const uint32_t all_above = __reduce_add_sync(0xffffffffu, lane < kWarps ? s.above[lane] : 0);
  const uint32_t all_ties = __reduce_add_sync(0xffffffffu, lane < kWarps ? s.ties[lane] : 0);
  if (threadIdx.x == 0) s.block_above = all_above, s.block_ties = all_ties;
}

// Writes the block's share of the set. above, ties: how many there are in the row before the block.
template <int kThreads, class Keys, class Index>
__device__ inline void write_chosen(const TopkRows& rows, int64_t row, const Threshold& t, int64_t quads, uint32_t above,
                                    uint32_t ties, const Shared& s, Keys&& keys, Index&& index) {
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  above += __reduce_add_sync(0xffffffffu, lane < warp ? s.above[lane] : 0);
  ties += __reduce_add_sync(0xffffffffu, lane < warp ? s.ties[lane] : 0);
  const int64_t last = first_quad_of<kThreads>(warp + 1, quads);
  for (int64_t first = first_quad_of<kThreads>(warp, quads); first < last; first += kWarp) {
    const int64_t i = first + lane;
    const uint32_t bits = i < last ? compare(keys(i), t.key) : 0;
    if (!__any_sync(0xffffffffu, bits)) continue;
    const uint32_t own = __popc(bits & 0xffffu) | __popc(bits >> 16) << 16;  // both counts in one scan, at most 128 each
    const uint32_t scanned = warp_scan(own), before = scanned - own, all = __shfl_sync(0xffffffffu, scanned, kWarp - 1);
    uint32_t slot = above + (before & 0xffffu), tie = ties + (before >> 16);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool is_above = bits >> j & 1, is_tie = bits >> (16 + j) & 1;
      if (is_above || (is_tie && tie < t.wanted)) rows.put(row, slot + min(tie, t.wanted), index(i, j));
      slot += is_above, tie += is_tie;
    }
    above += all & 0xffffu, ties += all >> 16;
  }
}

// A row that has no more scores than slots, by `threads` threads of which this one is `thread`.
__device__ inline void write_whole_row(const TopkRows& rows, int64_t row, int64_t length, int64_t thread, int64_t threads) {
  for (int64_t slot = thread; slot < rows.k; slot += threads) rows.put_whole_row(row, slot, length);
}

}  // namespace sluice::topk
