// Step 1 of the vector forms: groups of logits that an adjustment touches are copied and changed; the logits stay as they are.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/rows.h"
#include "ops/sample/penalize.h"
#include "ops/sample/scratch.h"

namespace sluice {

// Row b's patches, and the largest z of the groups that have one. After scan_logits().
template <class V>
void sample_patch(const SampleArgs& a, int64_t b, const SampleScratch& s) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const SampleRow& row = a.rows[b];
  const float* x = Rows(a.logits).row<float>(b);
  int32_t* slot = s.slot + b * s.groups;
  float *group_max = s.group_max + b * s.groups, *patch = s.patch + s.patch_begin[b] * kLogitGroup;
  int32_t patches = 0;
  const bool all_allowed = row.allowed.empty();
  for (int64_t g = 0; g < s.groups; ++g) slot[g] = -1;
  const auto z_of = [&](int32_t id) -> float& {
    const int64_t g = id / kLogitGroup, n = all_allowed ? std::min(kLogitGroup, s.V - g * kLogitGroup) : 0;
    if (slot[g] < 0) {
      slot[g] = patches++;
      float* z = patch + slot[g] * kLogitGroup;
      std::memcpy(z, x + g * kLogitGroup, size_t(n) * sizeof(float));
      for (int64_t i = n; i < kLogitGroup; ++i) z[i] = kNever;
    }
    return patch[slot[g] * kLogitGroup + id % kLogitGroup];
  };
  if (!all_allowed)  // groups without a patch have no token; their logits are not looked at again
    for (int64_t g = 0; g < s.groups; ++g) group_max[g] = kNever;
  for (const int32_t id : row.allowed) z_of(id) = x[id];
  for (const LogitBias& add : row.bias)
    if (float& z = z_of(add.id); z != kNever) z = sample_clamp(z + add.bias);
  for (const TokenUse& use : row.used)
    if (float& z = z_of(use.id); z != kNever) z = sample_penalize(z, use, a.params[b]);
  for (const int32_t id : row.banned) z_of(id) = kNever;
  float largest = kNever;
  for (int64_t g = 0; g < s.groups; ++g) {
    if (slot[g] >= 0) {
      const float* z = patch + slot[g] * kLogitGroup;
      auto max = V::load(z);
      for (int64_t i = simd::kLanes; i < kLogitGroup; i += simd::kLanes) max = V::max(max, V::load(z + i));
      group_max[g] = V::reduce_max(max);
    }
    largest = std::max(largest, group_max[g]);
  }
  s.max[b] = largest;
}

}  // namespace sluice
