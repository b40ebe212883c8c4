// What attention needs beyond core/simd.h, for the plain form: cache rows are read 32 elements at a time, as pairs of vectors.
//
// The order of the elements within a pair is each instruction set's own (bf16 rows split cheapest into even and odd elements):
// queries are packed and outputs are kept in the same order, and natural() brings them back.
#pragma once

#include <algorithm>

#include "core/simd.h"

namespace sluice {

inline constexpr int kPair = 2 * simd::kLanes;

template <class F>
struct GqaPair {
  F a, b;
};

struct GqaPlain : simd::Plain {
  // Sums kept at a time: two are half of the sixteen 16-byte registers of the oldest CPUs. And the most rows that share a load.
  static constexpr int kSums = 2, kMostRows = 2;

  template <class X>
  static SLUICE_INLINE GqaPair<F> load_pair(const X* p) {
    return {load(p), load(p + simd::kLanes)};
  }
  template <class X>
  static SLUICE_INLINE GqaPair<F> load_pair_n(const X* p, int n) {
    return {load_n(p, std::min(n, simd::kLanes)), load_n(p + simd::kLanes, std::max(n - simd::kLanes, 0))};
  }
  template <class X>
  static SLUICE_INLINE GqaPair<F> natural(const GqaPair<F>& p) {
    return p;
  }
  // out[i] = reduce_add(sums[i])
  static SLUICE_INLINE void reduce_add_each(const F (&sums)[kSums], float* out) {
    for (int i = 0; i < kSums; ++i) out[i] = reduce_add(sums[i]);
  }
};

}  // namespace sluice
