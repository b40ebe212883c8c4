// Parts of the kernel for compute capability 9.0. A block has a few neighbouring tokens that share keys, and a part of the columns.
// Its queries lie in shared memory, widened to fp16, as the second operand of wgmma: a column a head. The copy engine brings keys,
// 64 at a time, to a ring; a warpgroup takes every second 64 into registers, widens them there and multiplies them with all
// queries: a row of the product a key. So the sum over heads is in a thread but for two shuffles.
//
// A sum over dimensions is taken in the steps and the order of cuda.cu (operand.cuh), and so is that over heads: bits are the same.
#pragma once

#include "core/cuda/launch.h"
#include "core/cuda/wgmma.h"
#include "ops/index_logits/keys.h"
#include "ops/index_logits/operand.cuh"

namespace sluice::logits_sm90 {

using namespace cuda;

inline constexpr int kDim = 128, kTile = 64;                   // of keys; keys of a product
inline constexpr int kGroup = 128, kMathThreads = 2 * kGroup;  // of a warpgroup; of those that multiply
inline constexpr int kRow = 128;                               // bytes: a key's codes, or half of a query
inline constexpr int kSteps = kDim / 16, kStepsOfHalf = kSteps / 2;

// kHeads: 32 or 64, those that are not there have zeros. A block's tokens are in kProducts products of as many tokens each.
template <int kHeadsOf, int kTokensOf, int kProductsOf, int kBlocksOf>
struct Shape {
  static constexpr int kHeads = kHeadsOf, kTokens = kTokensOf, kProducts = kProductsOf;
  static constexpr int kTogether = kTokens / kProducts, kColumns = kTogether * kHeads;
  static constexpr int kBlocks = kBlocksOf;                                        // of a multiprocessor
  static constexpr int kThreads = kMathThreads + (kBlocks == 1 ? kGroup : kWarp);  // with those that copy and clean
  static constexpr int kStages = 8;                                                // even: a stage is always of one warpgroup
  static constexpr int kWeights = kHeads / 4;                                      // of a token, that a thread multiplies with
};

template <class S>
struct Shared {
  alignas(1024) std::byte queries[S::kProducts][2][S::kColumns * kRow];
  std::byte keys[S::kStages][kTile * kRow];
  float scales[S::kStages][kTile];
  float4 weights[S::kTokens][4][S::kWeights / 4 + 1];  // by thread of a group of four, padded for the banks
  uint2 seen[S::kTokens];
  uint64_t full[S::kStages], empty[S::kStages];
};

// How a call is cut: each sequence's tokens into units, the columns into parts.
struct Blocks {
  int64_t tokens_of_sequence, units_of_sequence, units;
  int64_t columns, across;
};

// What a block has.
struct Work {
  int64_t sequence, token;  // the first
  int tokens;
  uint32_t first, last;  // columns
  uint32_t begin, end;   // those that any of the tokens sees

  __device__ uint32_t first_tile() const { return begin / kTile; }
  __device__ uint32_t tiles() const { return begin < end ? (end + kTile - 1) / kTile - first_tile() : 0; }
};

// Long rows first, which are often the last.
__device__ inline int64_t unit_of_block(const Blocks& b) { return b.units - 1 - int64_t(blockIdx.x) / b.across; }

template <class S>
__device__ Work work_of(const IndexLogits& p, const Blocks& b) {
  const int64_t unit = unit_of_block(b), at = unit % b.units_of_sequence * S::kTokens;
  Work w;
  w.sequence = unit / b.units_of_sequence;
  w.token = w.sequence * b.tokens_of_sequence + at;
  w.tokens = int(min(int64_t(S::kTokens), b.tokens_of_sequence - at));
  w.first = uint32_t(int64_t(blockIdx.x) % b.across * b.columns);
  w.last = uint32_t(min(int64_t(w.first) + b.columns, p.width));
  w.begin = w.last, w.end = w.first;
  return w;
}

// The columns of the block that its t-th token sees.
__device__ inline uint2 columns_of(const IndexLogits& p, const Work& w, int t) {
  const KeyRange seen = p.seen(w.token + t);
  const uint32_t begin = max(w.first, min(uint32_t(seen.begin), w.last));
  return make_uint2(begin, max(begin, min(uint32_t(seen.end), w.last)));
}

// Their union, by every warp for itself, a lane a token. The first warp keeps them for those that multiply.
template <class S>
__device__ void find_columns(const IndexLogits& p, Work& w, Shared<S>& s) {
  const int lane = int(threadIdx.x) % kWarp;
  const uint2 seen = lane < w.tokens ? columns_of(p, w, lane) : make_uint2(0, 0);
  if (threadIdx.x < S::kTokens) s.seen[lane] = seen;
  w.begin = __reduce_min_sync(0xffffffffu, seen.x < seen.y ? seen.x : w.last);
  w.end = __reduce_max_sync(0xffffffffu, seen.x < seen.y ? seen.y : w.first);
}

// Queries as wgmma's second operand: rows of 128 bytes, swizzled, half of a query each. Step s of a sum names elements 4 s to 4 s +
// 3 of each quarter of the dimensions, as keys are named in widen_keys(). A warp has half of eight heads at a time.
template <class S>
__device__ void load_queries(const IndexLogits& p, const Work& w, Shared<S>& s) {
  const int warp = int(threadIdx.x) / kWarp, g = int(threadIdx.x) % kWarp / 4, c = int(threadIdx.x) % 4;
#pragma unroll 4
  for (int i = warp; i < S::kTokens * S::kHeads / 4; i += kMathThreads / kWarp) {
    const int half = i % 2, token = i / 2 / (S::kHeads / 8), head = i / 2 % (S::kHeads / 8) * 8 + g;
    uint4 codes{};
    if (token < w.tokens && head < p.heads)
      codes = *reinterpret_cast<const uint4*>(p.q + (w.token + token) * p.q_row + head * p.q_head + c * (kDim / 4) + half * 16);
    const int row = token % S::kTogether * S::kHeads + head;
    std::byte* to = s.queries[token / S::kTogether][half] + row * kRow + c * 4;
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const logits::Four x = logits::widen(words[step]);
      *reinterpret_cast<uint32_t*>(to + ((2 * step) ^ g) * 16) = x.low;
      *reinterpret_cast<uint32_t*>(to + ((2 * step + 1) ^ g) * 16) = x.high;
    }
  }
  auto* weights = reinterpret_cast<float*>(s.weights);
  for (int i = int(threadIdx.x); i < S::kTokens * S::kHeads; i += kMathThreads) {
    const int token = i / S::kHeads, head = i % S::kHeads;
    const bool there = token < w.tokens && head < p.heads;
    weights[(token * 4 + head % 8 / 2) * (S::kWeights + 4) + head / 8 * 2 + head % 2] =
        there ? p.weights[(w.token + token) * p.weights_row + head] : 0;
  }
}

// --- the warpgroup that copies and cleans ---

// Brings the block's keys to the ring.
template <class S>
__device__ void bring_keys(const IndexLogits& p, const CUtensorMap* map, const Work& w, Shared<S>& s) {
  const int lane = int(threadIdx.x) % kWarp;
  const uint32_t tiles = w.tiles();
  const uint64_t policy = p.keys.table ? ptx::give_up_first() : ptx::keep_longest();
  int32_t pages = 0;  // of 32 tiles, one a lane
  for (uint32_t i = 0; i < tiles; ++i) {
    const uint32_t stage = i % S::kStages, key = (w.first_tile() + i) * kTile;
    if (i % kWarp == 0 && p.keys.table && i + lane < tiles) pages = p.keys.page_of(w.sequence, key + lane * kTile);
    const int32_t page = __shfl_sync(0xffffffffu, pages, i % kWarp);
    if (i >= S::kStages) ptx::mbarrier_wait(&s.empty[stage], (i / S::kStages - 1) % 2);
    if (lane == 0) {
      const int row = p.keys.table ? int(key) & p.keys.in_page : int(key);
      const uint32_t scale_bytes = p.keys.table ? kTile * kScaleBytes : 0;
      ptx::mbarrier_arrive_expect(&s.full[stage], kTile * kRow + scale_bytes);
      ptx::tma_load_4d(s.keys[stage], map, 0, row, 0, page, &s.full[stage], policy);
      if (scale_bytes) ptx::bulk_load(s.scales[stage], p.keys.scale(page, key), scale_bytes, &s.full[stage]);
    }
    __syncwarp();
  }
}

// -inf where tokens see no key, by `threads` threads.
__device__ inline void clean(const IndexLogits& p, const Work& w, uint32_t thread, uint32_t threads) {
  for (int t = 0; t < w.tokens; ++t) {
    const uint2 seen = columns_of(p, w, t);
    float* row = p.logits + (w.token + t) * p.logits_row;
    for (uint32_t j = w.first + thread; j < seen.x; j += threads) row[j] = -INFINITY;
    for (uint32_t j = seen.y + thread; j < w.last; j += threads) row[j] = -INFINITY;
  }
}

// --- the warpgroups that multiply ---

__device__ inline void multiply_step(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  ptx::wgmma_m64n128k16_fp16<ptx::Major::kSummed>(d, a, b, accumulate);
}
__device__ inline void multiply_step(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
  ptx::wgmma_m64n64k16_fp16<ptx::Major::kSummed>(d, a, b, accumulate);
}

// Where a thread stands: thread 4 g + c of a warp. Kept, since reading it anew takes longer than there is.
struct Lane {
  int row, g, c;  // row: of the tile's keys, the warp's first and g
  uint32_t own;   // the key of a tile that the thread writes: the row, or where c is odd 8 behind it

  __device__ Lane() {
    const int thread = ptx::opaque(int(threadIdx.x) % kGroup);
    g = thread % kWarp / 4, c = thread % 4, row = thread / kWarp * 16 + g;
    own = uint32_t(row + c % 2 * 8);
  }
};

// A thread's codes of a tile: thread 4 g + c of a warp has the c-th quarters of its keys g and g + 8.
struct Codes {
  uint4 low[2], high[2];

  __device__ void load(const std::byte* keys, const Lane& lane) {
    const std::byte* row = keys + lane.row * kRow;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int at = ((2 * lane.c + i) ^ lane.g) * 16;
      low[i] = *reinterpret_cast<const uint4*>(row + at), high[i] = *reinterpret_cast<const uint4*>(row + 8 * kRow + at);
    }
  }
};

// The same as wgmma's first operand.
__device__ inline void widen_keys(uint32_t (&a)[kSteps][4], const Codes& codes) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 low = codes.low[i], high = codes.high[i];
    const uint32_t lows[4] = {low.x, low.y, low.z, low.w}, highs[4] = {high.x, high.y, high.z, high.w};
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const logits::Four x = logits::widen(lows[s]), y = logits::widen(highs[s]);
      a[4 * i + s][0] = x.low, a[4 * i + s][1] = y.low, a[4 * i + s][2] = x.high, a[4 * i + s][3] = y.high;
    }
  }
  ptx::pin(a);
}

// Begins D = keys . queries of one product.
template <int N>
__device__ void multiply(float (&d)[N], const uint32_t (&keys)[kSteps][4], const std::byte* queries) {
  const uint64_t operand = ptx::wgmma_operand(ptx::shared_address(queries), 0, 8 * kRow);
#pragma unroll
  for (int s = 0; s < kSteps; ++s)
    multiply_step(d, keys[s], ptx::wgmma_advance(operand, s / kStepsOfHalf * 2 * N * kRow + s % kStepsOfHalf * 32), s > 0);
  ptx::wgmma_commit();
}

// A tile that was multiplied: the first of its keys, and the scale of the one that the thread writes.
struct Tile {
  uint32_t key;
  float scale;
};

// Writes one product's logits. Lanes of a group of four end with a key each, the upper two with the odd tokens.
template <class S>
__device__ void finish(const IndexLogits& p, const Work& w, const Shared<S>& s, int product, const float (&d)[S::kColumns / 2],
                       const Tile& tile, const Lane& lane) {
  const int c = lane.c;
  const bool odd = c % 2, upper = c / 2;
  float sum[S::kTogether];
#pragma unroll
  for (int t = 0; t < S::kTogether; ++t) {
    float low = 0, high = 0;
#pragma unroll
    for (int i = 0; i < S::kWeights; i += 4) {
      const float4 four = s.weights[product * S::kTogether + t][c][i / 4];
      const float weights[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int at = (t * S::kHeads / 8 + (i + j) / 2) * 4 + j % 2;
        low = fmaf(weights[j], ptx::max_nan(d[at], 0), low);
        high = fmaf(weights[j], ptx::max_nan(d[at + 2], 0), high);
      }
    }
    sum[t] = (odd ? high : low) + __shfl_xor_sync(0xffffffffu, odd ? low : high, 1);
  }
  const uint32_t key = tile.key + lane.own;
  const auto put = [&](int token, float x) {
    const uint2 seen = s.seen[product * S::kTogether + token];
    if (key >= seen.x && key < seen.y) p.logits[(w.token + product * S::kTogether + token) * p.logits_row + key] = x * tile.scale;
  };
  if constexpr (S::kTogether == 1) {
    sum[0] += __shfl_xor_sync(0xffffffffu, sum[0], 2);
    if (!upper) put(0, sum[0]);
  } else {
#pragma unroll
    for (int t = 0; t < S::kTogether; t += 2)
      put(t + upper, (upper ? sum[t + 1] : sum[t]) + __shfl_xor_sync(0xffffffffu, upper ? sum[t] : sum[t + 1], 2));
  }
}

// Waits for the block's i-th tile, takes its codes into registers and frees its stage.
template <class S>
__device__ Tile take_tile(const IndexLogits& p, const Work& w, Shared<S>& s, uint32_t i, const Lane& lane, Codes& codes) {
  const uint32_t stage = i % S::kStages;
  Tile tile{(w.first_tile() + i) * kTile, 1};
  if (p.keys.scales) tile.scale = p.keys.scales[min(tile.key + lane.own, w.last - 1)];
  ptx::mbarrier_wait(&s.full[stage], i / S::kStages % 2);
  if (p.keys.table) tile.scale = s.scales[stage][lane.own];
  codes.load(s.keys[stage], lane);
  __syncwarp();
  if (threadIdx.x % kWarp == 0) ptx::mbarrier_arrive(&s.empty[stage]);
  return tile;
}

// A product after the other; the multiprocessor's other block works meanwhile.
template <class S>
__device__ void score_in_turn(const IndexLogits& p, const Work& w, Shared<S>& s, uint32_t first) {
  const Lane lane;
  uint32_t keys[kSteps][4];
  float d[S::kColumns / 2];
  for (uint32_t i = first; i < w.tiles(); i += kMathThreads / kGroup) {
    Codes codes;
    const Tile tile = take_tile(p, w, s, i, lane, codes);
    widen_keys(keys, codes);
#pragma unroll
    for (int product = 0; product < S::kProducts; ++product) {
      ptx::wgmma_fence();
      multiply(d, keys, s.queries[product][0]);
      ptx::wgmma_wait<0>();
      ptx::pin(d);
      finish(p, w, s, product, d, tile, lane);
    }
  }
}

// Two products at a time, of two sets of keys: one is finished while the tensor cores have the other, and they are never without.
template <class S>
struct Turns {
  const IndexLogits& p;
  const Work& w;
  Shared<S>& s;
  const Lane lane;
  uint32_t i;
  Tile tile;
  float d0[S::kColumns / 2], d1[S::kColumns / 2];

  __device__ Turns(const IndexLogits& p, const Work& w, Shared<S>& s, uint32_t first) : p(p), w(w), s(s), i(first) {}
  __device__ Tile take(uint32_t (&keys)[kSteps][4]) {
    Codes codes;
    const Tile t = take_tile(p, w, s, i, lane, codes);
    widen_keys(keys, codes);
    return t;
  }
  __device__ void begin(uint32_t (&keys)[kSteps][4]) {
    tile = take(keys);
    ptx::wgmma_fence();
    multiply(d0, keys, s.queries[0][0]);
    multiply(d1, keys, s.queries[1][0]);
  }
  // Finishes the tile at hand and begins the next, with keys into `keys`. False: it was the last.
  __device__ bool turn(uint32_t (&keys)[kSteps][4]) {
    i += kMathThreads / kGroup;
    const bool last = i >= w.tiles();
    Tile next = tile;
    if (!last) next = take(keys);
    ptx::wgmma_wait<1>();
    ptx::pin(d0);
    finish(p, w, s, 0, d0, tile, lane);
    if (last) {
      ptx::wgmma_wait<0>();
      ptx::pin(d1);
      finish(p, w, s, 1, d1, tile, lane);
      return false;
    }
    ptx::pin(d0);
    ptx::wgmma_fence();
    multiply(d0, keys, s.queries[0][0]);
    ptx::wgmma_wait<1>();
    ptx::pin(d1);
    finish(p, w, s, 1, d1, tile, lane);
    ptx::pin(d1);
    ptx::wgmma_fence();
    multiply(d1, keys, s.queries[1][0]);
    tile = next;
    return true;
  }
};

template <class S>
__device__ void score_by_turns(const IndexLogits& p, const Work& w, Shared<S>& s, uint32_t first) {
  if (first >= w.tiles()) return;
  uint32_t a[kSteps][4], b[kSteps][4];
  Turns<S> turns(p, w, s, first);
  turns.begin(a);
  while (turns.turn(b) && turns.turn(a)) {
  }
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    logits_sm90_kernel(const __grid_constant__ CUtensorMap map, const __grid_constant__ IndexLogits p, const Blocks blocks) {
  extern __shared__ __align__(1024) std::byte memory[];
  Shared<S>& s = *reinterpret_cast<Shared<S>*>(memory);
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::kStages; ++i) ptx::mbarrier_init(&s.full[i], 1), ptx::mbarrier_init(&s.empty[i], kGroup / kWarp);
    ptx::fence_barrier_init();
    ptx::prefetch_tensor_map(&map);
  }
  __syncthreads();
  wait_for_previous_kernel();
  Work w = work_of<S>(p, blocks);
  find_columns(p, w, s);
  if (w.begin >= w.end) {
    if (p.clean) clean(p, w, threadIdx.x, S::kThreads);
  } else if (threadIdx.x >= kMathThreads) {
    if constexpr (S::kBlocks == 1) ptx::set_max_registers_down<40>();
    const uint32_t thread = threadIdx.x - kMathThreads;
    if (thread < kWarp) bring_keys(p, &map, w, s);
    if (p.clean && S::kBlocks == 1 && thread >= kWarp) clean(p, w, thread - kWarp, kGroup - kWarp);
    if (p.clean && S::kBlocks > 1) clean(p, w, thread, kWarp);
  } else {
    if constexpr (S::kBlocks == 1) ptx::set_max_registers_up<232>();
    load_queries(p, w, s);
    ptx::fence_proxy_async();
    ptx::named_barrier(1, kMathThreads);
    const uint32_t group = __shfl_sync(0xffffffffu, threadIdx.x / kGroup, 0);  // known to be one for a warp
    if constexpr (S::kBlocks == 1) score_by_turns(p, w, s, group);
    else score_in_turn(p, w, s, group);
  }
}

}  // namespace sluice::logits_sm90
