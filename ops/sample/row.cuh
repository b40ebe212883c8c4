// A row as the kernels see it: its logits with the adjustments laid over them, its weights, what of it is kept.
#pragma once

#include <cfloat>

#include "ops/sample/groups.cuh"
#include "ops/sample/philox.h"
#include "ops/sample/table.h"

namespace sluice::sampling {

using namespace logits;

// Weights of tokens by depth below the best, in 32nds of the temperature: a bin's differ by 3 %. The last is without end, and its
// tokens, below e^-63 of the best, will not be drawn.
inline constexpr int kBins = 2048, kBinsPerT = 32;
struct Bins {
  uint64_t weight[kBins];  // in 2^-kBinPoint of the bin's upper end: integers add up to the same in any order
  uint32_t count[kBins];
};
inline constexpr int kBinPoint = 44;  // so a bin holds kMostVocab tokens

// The last of the tokens that the filters keep, in order of (z down, id up).
struct Kept {
  Key key = kNeverKey + 1;
  int32_t last = INT_MAX;
};

// Whether top_k leaves tokens out; whether it or top_p does.
__host__ __device__ inline bool by_rank(const SamplingParams& p, int vocab) { return p.top_k > 0 && p.top_k < vocab; }
__host__ __device__ inline bool cuts(const SamplingParams& p, int vocab) {
  return p.temperature > 0 && (p.top_p < 1 || by_rank(p, vocab));
}

// Tokens that a block sorts.
inline constexpr int kMostListed = 4096;
enum class Start : unsigned char { kWhole, kBestGroups, kBins };
// Where the search for a cut begins: at all tokens, at those that reach the k-th of the groups' maxima, or at a histogram of all.
__host__ __device__ inline Start start_of(const SamplingParams& p, int vocab, int groups) {
  if (vocab <= kMostListed) return Start::kWhole;
  return by_rank(p, vocab) && p.top_k <= groups ? Start::kBestGroups : Start::kBins;
}

struct View {
  const float* logits;
  int64_t stride;
  int vocab, groups;
  const int32_t* positions;
  int32_t* ids;
  float* logprobs;         // null: not wanted
  const std::byte* table;  // null: all rows are greedy, and nothing is adjusted
  const Adjusted* adjusted;
  // Workspace.
  uint32_t* touched;  // [adjusted rows, groups * kGroup / 32]: bits of the tokens whose z is in `overlay`
  float* overlay;     // [adjusted rows, vocab]
  Key* max;           // [B, groups]: of z; kNanKey where a logit is not finite
  Mass* mass;         // [B, groups]: of the model's logits
  double* weight;     // [B, groups]: of what is kept
  Kept* kept;         // [B]
  Bins* bins;         // [B]

  __device__ TableRow row(int64_t b) const { return table ? reinterpret_cast<const TableRow*>(table)[b] : TableRow{{}, -1}; }
  __device__ const float* logits_of(int64_t b) const { return logits + b * stride; }
};

inline constexpr int kWordsOfGroup = kGroup / 32;

// The z of a row.
struct Row {
  const float* x;
  int vocab;
  const uint32_t* touched;  // null: nothing is adjusted
  const float* overlay;
  bool only_touched;  // all others are not allowed

  __device__ Row(const View& v, int64_t b)
      : x(v.logits_of(b)), vocab(v.vocab), touched(nullptr), overlay(nullptr), only_touched(false) {
    const int64_t i = v.row(b).adjusted;
    if (i < 0) return;
    touched = v.touched + i * v.groups * kWordsOfGroup;
    overlay = v.overlay + i * v.vocab;
    only_touched = v.adjusted[i].allowed.count > 0;
  }
  __device__ float at(int id) const {
    if (!touched) return x[id];
    if (touched[id / 32] >> id % 32 & 1) return overlay[id];
    return only_touched ? -INFINITY : x[id];
  }
  // Turns a lane's logits of a group into z.
  __device__ void adjust(int group, float (&z)[kOfLane]) const {
    if (!touched) return;
#pragma unroll
    for (int half = 0; half < kOfLane; half += 4) {
      const int at = group * kGroup + place_of(half);
      const uint32_t bits = touched[at / 32] >> at % 32;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (bits >> j & 1) z[half + j] = overlay[at + j];
        else if (only_touched) z[half + j] = -INFINITY;
      }
    }
  }
  __device__ void load(int group, float (&z)[kOfLane]) const {
    load_group(x, vocab, group, z);
    adjust(group, z);
  }
};

// Weights relative to the best token's.
struct Scale {
  double max, rate;  // rate: 1 / temperature
  __device__ Scale(Key most, const SamplingParams& p) : max(value_of(most)), rate(1.0 / double(p.temperature)) {}
  __device__ double weight(float z) const { return exp((double(z) - max) * rate); }
  __device__ double depth(float z) const { return (max - double(z)) * (rate * kBinsPerT); }
  // The z of a depth, not below the finite ones.
  __device__ double at_depth(double depth) const { return fmax(max - depth / (rate * kBinsPerT), -double(FLT_MAX)); }
};

__device__ inline int bin_of(double depth) { return int(fmin(depth, double(kBins - 1))); }

// The largest z of a row, by its groups; of a block of any size.
__device__ inline Key row_max(const View& v, int64_t b, BlockMemory& m) {
  Key most = kNoKey;
  for (int g = int(threadIdx.x); g < v.groups; g += int(blockDim.x)) most = max(most, v.max[b * v.groups + g]);
  return block_max(most, m);
}
// Of one row, by the blocks along y.
__device__ inline void clear_bins_of_row(const View& v, int64_t b) {
  const SamplingParams p = v.row(b).params;
  if (!cuts(p, v.vocab) || start_of(p, v.vocab, v.groups) != Start::kBins) return;
  for (int i = int(blockIdx.y * blockDim.x + threadIdx.x); i < kBins; i += int(gridDim.y * blockDim.x))
    v.bins[b].weight[i] = 0, v.bins[b].count[i] = 0;
}
// Whether there is a token to draw.
__device__ inline bool drawable(Key most) { return most > kNeverKey && most <= kMostKey; }

// What filters leave of a row.
struct Filter {
  Kept kept;
  double least;  // weight
  float lowest;  // a z below which no weight reaches `least`: a little too low, so that the weight decides at the border

  __device__ Filter(const View& v, int64_t b, const Scale& scale) : least(v.row(b).params.min_p) {
    const SamplingParams p = v.row(b).params;
    if (cuts(p, v.vocab)) kept = v.kept[b];
    lowest = p.min_p > 0 ? __double2float_rd(scale.max + double(p.temperature) * (log(least) - 1e-6)) : -INFINITY;
  }
  __device__ bool may_keep(Key most) const { return most >= kept.key && value_of(most) >= lowest; }
  // A lane's weights of a group; 0 for what is not kept.
  __device__ void weigh(const Scale& scale, int group, const float (&z)[kOfLane], double (&w)[kOfLane]) const {
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      const Key key = key_of(z[i]);
      const bool in = key > kept.key || (key == kept.key && group * kGroup + place_of(i) <= kept.last);
      w[i] = in && z[i] >= lowest ? scale.weight(z[i]) : 0;
      if (least > 0 && w[i] < least) w[i] = 0;
    }
  }
};

}  // namespace sluice::sampling
