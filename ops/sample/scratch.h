// What the vector forms share.
#pragma once

#include <limits>

#include "base/checked.h"
#include "ops/sample/forms.h"
#include "ops/sample/scan.h"

namespace sluice {

struct SampleCandidate {
  double weight;  // e^((z - the largest z) / temperature)
  float z;
  int32_t id;
};

// The tokens that the filters leave: z above `z`, or equal to it and the id at most `last`; and no weight below `weight`.
struct SampleKept {
  float z = std::numeric_limits<float>::lowest();
  int32_t last = std::numeric_limits<int32_t>::max();
  double weight = 0;
};

// Weights of tokens by ranges of z, from the largest down.
struct SampleBin {
  double weight;
  int64_t count;
};
inline constexpr int kSampleBins = 1024;

// What the vector forms keep of each row, and of each thread.
struct SampleScratch {
  int64_t V, groups, blocks;
  LogitBlock* block;           // [B, blocks], of the model's logits
  float* group_max;            // [B, groups], of the logits, then of z
  double* group_weight;        // [B, groups]
  int32_t* slot;               // [B, groups]: where a group's z are in the row's patches; -1: they are the logits
  int64_t* patch_begin;        // [B]: the row's first patch
  float* patch;                // [patches, kLogitGroup]: z of the groups that an adjustment touches; -inf past the row's end
  float* max;                  // [B]: the largest z
  SampleBin* bins;             // [threads, kSampleBins]
  SampleCandidate* candidate;  // [threads, V]
};

SampleScratch sample_scratch(const Context& ctx, const SampleArgs& a, std::byte* memory);

// Whether a row is drawn from all groups, by their weights; else it is greedy, or drawn from the short list that top_k leaves.
bool sample_draws_from_groups(const SamplingParams& p, int64_t groups);
// What is kept as far as one token tells it, before looking at others: min_p, where neither top_k nor top_p come first.
SampleKept sample_kept_at_once(const SamplingParams& p, int64_t V, float max);

// Weights of the kept ones of a group's n tokens, the first of which is token `first`, and their sum. `w`: where to put them, 0 for
// those that are not kept, kLogitGroup entries; null: nowhere. A pointer, so that it runs with the instruction set of the form.
struct SampleScale {
  float max;
  double rate;  // 1 / temperature
};
using SampleWeigh = double (*)(const float* z, int64_t n, int64_t first, const SampleKept& kept, SampleScale scale, double* w);

// Row b from its blocks and groups to its id and log-probability, with `thread`'s part of the scratch.
void sample_finish_row(const SampleArgs& a, int64_t b, const SampleScratch& s, SampleWeigh weigh, int thread);

}  // namespace sluice
