// Passes over a row of logits that all forms of what reads logits share. A row is cut into blocks, the unit of work of a thread and
// of summation, and those into groups, whose largest logits tell later passes where to look.
#pragma once

#include <algorithm>

#include "core/simd.h"

namespace sluice {

inline constexpr int64_t kLogitBlock = 4096, kLogitGroup = 64;

struct LogitBlock {
  float max;
  float finite;  // 0, or NaN if a logit is NaN or infinite
  double sum;    // of e^(logit - row's max)
};

// Logits [i, i + 16) of n, with `fill` past the end.
template <class V>
SLUICE_INLINE typename V::F load_logits(const float* x, int64_t i, int64_t n, float fill) {
  if (i + simd::kLanes <= n) return V::load(x + i);
  float padded[simd::kLanes];
  for (int j = 0; j < simd::kLanes; ++j) padded[j] = i + j < n ? x[i + j] : fill;
  return V::load(padded);
}

// First pass over a block of n: the largest logit of each group and of all, and whether all are finite (0 * x is NaN if x is not).
template <class V>
SLUICE_INLINE void scan_logits(const float* x, int64_t n, float* group_max, LogitBlock& block) {
  auto finite = V::zero();
  block.max = x[0];
  for (int64_t g = 0; g < n; g += kLogitGroup) {
    auto max = V::set1(x[g]);
    for (int64_t i = g; i < std::min(n, g + kLogitGroup); i += simd::kLanes) {
      const auto v = load_logits<V>(x, i, n, x[g]);
      finite = V::fma(v, V::zero(), finite);
      max = V::max(max, v);
    }
    group_max[g / kLogitGroup] = V::reduce_max(max);
    block.max = std::max(block.max, group_max[g / kLogitGroup]);
  }
  block.finite = V::reduce_add(finite);
}

// Sum of e^(x - max) over a block: fp32 lanes, at most 256 terms each.
template <class V>
SLUICE_INLINE double sum_logits(const float* x, int64_t n, float max) {
  auto sum = V::zero();
  for (int64_t i = 0; i < n; i += simd::kLanes)
    sum = V::add(sum, simd::exp<V>(V::sub(load_logits<V>(x, i, n, -__builtin_inff()), V::set1(max))));
  return double(V::reduce_add(sum));
}

SLUICE_INLINE float max_of_blocks(const LogitBlock* block, int64_t blocks) {
  float max = block[0].max;
  for (int64_t i = 1; i < blocks; ++i) max = std::max(max, block[i].max);
  return max;
}

}  // namespace sluice
