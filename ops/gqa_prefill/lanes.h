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

// Products of widened elements, by FMA.
template <class Simd>
struct GqaFma : Simd {
  using typename Simd::F;
  using Query = float;             // a packed query's element
  using Weight = float;            // softmax's, as they are multiplied
  static constexpr int kKeys = 1;  // that a step of the weighted sum takes

  static SLUICE_INLINE void store_query(float* q, const GqaPair<F>& p) { Simd::store(q, p.a), Simd::store(q + simd::kLanes, p.b); }
  static SLUICE_INLINE GqaPair<F> load_query(const float* q) { return {Simd::load(q), Simd::load(q + simd::kLanes)}; }
  // sum + query * key, lane by lane
  static SLUICE_INLINE F dot(const GqaPair<F>& query, const GqaPair<F>& key, F sum) {
    return Simd::fma(query.b, key.b, Simd::fma(query.a, key.a, sum));
  }
  static SLUICE_INLINE const float* weights(float* s, int) { return s; }
  static SLUICE_INLINE F weight(const float* p) { return Simd::set1(*p); }
  static SLUICE_INLINE GqaPair<F> values(const GqaPair<F>& key) { return key; }
  static SLUICE_INLINE F weigh(F weight, F value, F sum) { return Simd::fma(weight, value, sum); }
};

struct GqaPlain : GqaFma<simd::Plain> {
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
