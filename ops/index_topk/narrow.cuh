// Rows of many more scores than are wanted, in three reads of shared memory instead of a histogram of all scores. A sample gives a
// bar that very likely leaves the k best and few others. The scores that pass it go by ascending index to a list in the memory of
// the row's first block, which chooses among them alone. A bar is only a guess: where fewer than k pass it, or more than the list
// holds, the row is selected from as a whole (select_row in cuda.cu), and nothing was lost but time.
#pragma once

#include <cmath>

#include "core/cuda/ptx.h"
#include "ops/index_topk/select.cuh"

namespace sluice::topk {

inline constexpr int kSampleQuads = 2;                                       // of a thread
constexpr int sample_of(int threads) { return 4 * kSampleQuads * threads; }  // scores

// The rank in a sample whose score is the bar, where `expected` of the k best are in the sample: theirs, and four deviations more.
template <class F>
constexpr SLUICE_INLINE F rank_of_bar(F expected, F root_of_expected) {
  return expected + 4 * root_of_expected + 4;
}

// Scores that passed the bar.
struct List {
  uint4* keys;        // of its own block; whole quads
  uint32_t* indices;  // of the row
  uint32_t room;
};

// The score of a key, as far as comparison goes.
__device__ inline float score_of(uint32_t key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }

// Brings the part of a row that a block has to shared memory; places outside of the row are NaN, which passes no bar.
template <int kThreads>
__device__ inline void copy_scores(const Row& row, int64_t begin, int64_t quads, float4* to) {
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < quads; i += kThreads) {
    const int64_t first = row.index(begin + i);
    const float* at = row.begin + (begin + i) * 4;
    const auto score = [&](int j) { return first + j >= 0 && first + j < row.length ? at[j] : NAN; };
    if (first >= 0 && first + 4 <= row.length) cuda::ptx::cp_async_16(cuda::ptx::shared_address(to + i), at);
    else to[i] = make_float4(score(0), score(1), score(2), score(3));
  }
  cuda::ptx::cp_async_commit();
}

// Quads all along a long row, but for the first and the last, which may be incomplete.
template <int kThreads>
__device__ inline void load_sample(const Row& row, float4 (&sample)[kSampleQuads]) {
#pragma unroll
  for (int i = 0; i < kSampleQuads; ++i) {
    const int64_t quad = 1 + (row.quads - 2) * (i * kThreads + int(threadIdx.x)) / (kSampleQuads * kThreads);
    sample[i] = *reinterpret_cast<const float4*>(row.begin + quad * 4);
  }
}

// The least key that passes, out of quads all along the row. The same in all blocks of a row. Leaves the histograms zero.
template <int kThreads>
__device__ inline uint32_t find_bar(int64_t k, int64_t length, const float4 (&sample)[kSampleQuads], Shared& s) {
  const float expected = float(k) * sample_of(kThreads) / float(length);
  Threshold t(int64_t(rank_of_bar(expected, sqrtf(expected))));
  const auto count = [&](int first) { return [&s, first](int bin) { return s.histogram[first + bin]; }; };
  clear_histograms<kThreads>(s);
  __syncthreads();
  uint4 keys[kSampleQuads];
#pragma unroll
  for (int i = 0; i < kSampleQuads; ++i) keys[i] = keys_of(sample[i]), count_digit<0>(t, keys[i], s.histogram);
  __syncthreads();
  take_digit<kThreads, 0>(t, s, count(first_bin(0)));
  if (!t.found) {
#pragma unroll
    for (int i = 0; i < kSampleQuads; ++i) count_digit<1>(t, keys[i], s.histogram);
    __syncthreads();
    take_digit<kThreads, 1>(t, s, count(first_bin(1)));
  }
  clear_histograms<kThreads>(s);
  return t.found ? t.key + 1 : t.key;
}

// Which of a block's scores pass the bar: a warp has neighbouring words of 32 scores, a lane keeps every 32nd of them.
struct Passed {
  uint32_t word[2] = {};
  uint32_t first;       // the warp's first word
  uint32_t before = 0;  // scores that passed in the block's warps before this one
};

template <int kThreads>
__device__ inline Passed find_passed(const float* scores, uint32_t count, float bar, Shared& s) {
  constexpr uint32_t kWarps = kThreads / kWarp;
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, words = (count + kWarp - 1) / kWarp;
  Passed p;
  p.first = words * warp / kWarps;
  const uint32_t own = words * (warp + 1) / kWarps - p.first;
  uint32_t passed = 0;
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t last = min(own, (half + 1) * kWarp);
#pragma unroll 8
    for (uint32_t j = half * kWarp; j < last; ++j) {
      const uint32_t at = (p.first + j) * kWarp + lane;
      const uint32_t bits = __ballot_sync(0xffffffffu, at < count && scores[at] >= bar);
      if (lane == j % kWarp) p.word[half] = bits;
    }
    passed += __popc(p.word[half]);
  }
  passed = __reduce_add_sync(0xffffffffu, passed);
  if (lane == 0) s.above[warp] = passed;
  __syncthreads();
  const uint32_t of_warp = lane < kWarps ? s.above[lane] : 0, all = __reduce_add_sync(0xffffffffu, of_warp);
  p.before = __reduce_add_sync(0xffffffffu, lane < warp ? of_warp : 0);
  if (threadIdx.x == 0) s.block_above = all;
  return p;
}

// Calls put(place, key, index) for each score that passed, by ascending index; first_index: of the block's first score.
template <class Put>
__device__ inline void list_passed(const Passed& p, const float* scores, uint32_t place, int64_t first_index, Put&& put) {
  const uint32_t lane = threadIdx.x % kWarp;
#pragma unroll
  for (uint32_t half = 0; half < 2; ++half) {
    const uint32_t own = __popc(p.word[half]), scanned = warp_scan(own);
    uint32_t at = place + scanned - own;
    for (uint32_t bits = p.word[half]; bits; bits &= bits - 1) {
      const uint32_t i = (p.first + half * kWarp + lane) * kWarp + __ffs(int(bits)) - 1;
      put(at++, score_key(scores[i]), uint32_t(first_index + i));
    }
    place += __shfl_sync(0xffffffffu, scanned, kWarp - 1);
  }
}

template <int kThreads, int kDigit, class Keys>
__device__ inline void find_digit_of_list(Threshold& t, uint32_t quads, Shared& s, Keys&& keys) {
  if (t.found) return;
  for (uint32_t i = threadIdx.x; i < quads; i += kThreads) count_digit<kDigit>(t, keys(i), s.histogram);
  __syncthreads();
  take_digit<kThreads, kDigit>(t, s, [&](int bin) { return s.histogram[first_bin(kDigit) + bin]; });
}

// Chooses and writes the k best of the `count` that are listed, all with keys from `bar` on. Histograms are zero. Digits are those
// of the distance from the bar, beginning with the first that differs; so two of them mostly do.
template <int kThreads>
__device__ inline void select_listed(const TopkRows& rows, int64_t number, uint32_t count, uint32_t bar, const List& list,
                                     Shared& s) {
  const uint32_t lane = threadIdx.x % kWarp, quads = (count + 3) / 4;
  auto* keys = reinterpret_cast<uint32_t*>(list.keys);
  if (threadIdx.x < quads * 4 - count) keys[count + threadIdx.x] = bar;  // behind all others, so that none is chosen
  __syncthreads();
  uint32_t best = bar;
  for (uint32_t i = threadIdx.x; i < quads; i += kThreads) {
    const uint4 four = list.keys[i];
    best = max(max(max(four.x, four.y), max(four.z, four.w)), best);
  }
  best = __reduce_max_sync(0xffffffffu, best);
  if (lane == 0) s.ties[threadIdx.x / kWarp] = best;
  __syncthreads();
  best = __reduce_max_sync(0xffffffffu, lane < kThreads / kWarp ? s.ties[lane] : bar);
  const int shift = min(__clz(int(best - bar)), 31);
  const auto distance = [&](int64_t i) {
    const uint4 four = list.keys[i];
    return make_uint4((four.x - bar) << shift, (four.y - bar) << shift, (four.z - bar) << shift, (four.w - bar) << shift);
  };
  Threshold t(rows.k);
  find_digit_of_list<kThreads, 0>(t, quads, s, distance);
  find_digit_of_list<kThreads, 1>(t, quads, s, distance);
  find_digit_of_list<kThreads, 2>(t, quads, s, distance);
  count_chosen<kThreads>(t, quads, s, distance);
  write_chosen<kThreads>(rows, number, t, quads, 0, 0, s, distance, [&](int64_t i, int j) { return list.indices[i * 4 + j]; });
}

}  // namespace sluice::topk
