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

// Where the kept tokens end as far as a sample of the row tells: not above `high`, not below `low`, which are finite.
struct SampleBracket {
  float low, high;
};

// What is known of a group of logits.
struct SampleGroup {
  double weight;    // of its kept tokens
  double above;     // of those above the row's bracket
  uint64_t inside;  // bit i: token i lies in the bracket
};

// How many tokens of a sample lie in each range of z, from the largest down: of those groups that are in it as a whole, and of the
// others, of which a part is.
struct SampleBin {
  uint32_t whole, part;
};
inline constexpr int kSampleBins = 4096;

// What the vector forms keep of each row, and of each thread.
struct SampleScratch {
  int64_t V, groups, blocks;
  LogitBlock* block;           // [B, blocks], of the model's logits
  float* group_max;            // [B, groups], of the logits, then of z
  SampleGroup* group;          // [B, groups], of rows that are drawn from all of them
  int32_t* slot;               // [B, groups]: where a group's z are in the row's patches; -1: they are the logits
  int64_t* patch_begin;        // [B]: the row's first patch
  float* patch;                // [patches, kLogitGroup]: z of the groups that an adjustment touches; -inf past the row's end
  float* max;                  // [B]: the largest z
  SampleBracket* bracket;      // [B], of rows with top_p first
  SampleBin* bins;             // [threads, kSampleBins]
  SampleCandidate* candidate;  // [threads, V]
};

SampleScratch sample_scratch(const Context& ctx, const SampleArgs& a, std::byte* memory);

// Whether a row is drawn from all groups, by their weights; else it is greedy, or drawn from the short list that top_k leaves.
bool sample_draws_from_groups(const SamplingParams& p, int64_t groups);
// Whether such a row has top_p, and no top_k before it.
bool sample_begins_with_top_p(const SamplingParams& p, int64_t V);
// What is kept as far as one token tells it, before looking at others: min_p, where neither top_k nor top_p come first.
SampleKept sample_kept_at_once(const SamplingParams& p, int64_t V, float max);

struct SampleScale {
  float max;
  double rate;  // 1 / temperature; 0: each token has the weight 1
};
// What runs with the instruction set of the form. Each sees a group's z, n of them.
struct SampleForm {
  // Weights of the kept ones and their sum; token `first` is the group's first. `w`: where to put them, 0 for those that are not
  // kept, kLogitGroup entries; null: nowhere.
  double (*weigh)(const float* z, int64_t n, int64_t first, const SampleKept& kept, SampleScale scale, double* w);
  // A group of which all is kept, split at a bracket.
  SampleGroup (*split)(const float* z, int64_t n, SampleBracket bracket, SampleScale scale);
};

// Row b, with `thread`'s part of the scratch: when its largest z is known, its bracket, if it begins with top_p; and from its
// groups to its id and log-probability.
void sample_begin_row(const SampleArgs& a, int64_t b, const SampleScratch& s, const SampleForm& form, int thread);
void sample_finish_row(const SampleArgs& a, int64_t b, const SampleScratch& s, const SampleForm& form, int thread);

}  // namespace sluice
