// A row of the scratch as select.cc sees it.
#pragma once

#include "core/rows.h"
#include "ops/sample/scratch.h"

namespace sluice {

struct SampleRowView {
  const float* x;
  const float* group_max;
  SampleGroup* group;
  SampleBracket* bracket;
  const int32_t* slot;  // null: nothing is adjusted
  const float* patch;
  int64_t V, groups;
  SampleScale scale;
  SampleForm form;
  SampleBin* bins;
  SampleCandidate* candidate;

  SampleRowView(const SampleArgs& a, int64_t b, const SampleScratch& s, const SampleForm& form, int thread)
      : x(Rows(a.logits).row<float>(b)),
        group_max(s.group_max + b * s.groups),
        group(s.group + b * s.groups),
        bracket(s.bracket + b),
        slot(s.patch_begin[b] < 0 ? nullptr : s.slot + b * s.groups),
        patch(s.patch + (slot ? s.patch_begin[b] : 0) * kLogitGroup),
        V(s.V),
        groups(s.groups),
        scale{s.max[b], 1.0 / a.params[b].temperature},
        form(form),
        bins(s.bins + thread * kSampleBins),
        candidate(s.candidate + thread * s.V) {}

  // The z of a group whose largest is finite.
  const float* z(int64_t g) const { return slot && slot[g] >= 0 ? patch + slot[g] * kLogitGroup : x + g * kLogitGroup; }
  int64_t size(int64_t g) const { return std::min(kLogitGroup, V - g * kLogitGroup); }
  // The weight of all groups, in their order.
  double total() const {
    double sum = 0;
    for (int64_t g = 0; g < groups; ++g) sum += group[g].weight;
    return sum;
  }
};

// The bracket of where the best tokens come to have `share` of the weight of all. The sample has the groups with the largest z
// whole: few tokens that may have most of the weight.
SampleBracket sample_bracket(const SampleRowView& row, SampleScale scale, double share, int64_t whole_groups = 64);

}  // namespace sluice
