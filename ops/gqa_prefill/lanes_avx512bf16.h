// The AVX-512 form of lanes.h whose products are vdpbf16ps: keys and values as they lie, queries and weights rounded to bf16.
#pragma once

#include "ops/gqa_prefill/lanes_avx512.h"

namespace sluice {

struct GqaAvx512Bf16 : GqaAvx512 {
  using Query = Bf16;
  using Weight = Bf16;
  static constexpr int kKeys = 2;  // a lane of vdpbf16ps adds two products
  using Operand = __m512bh;

  static SLUICE_INLINE Operand load_pair(const Bf16* p) { return Operand(_mm512_loadu_si512(p)); }
  static SLUICE_INLINE Operand load_pair_n(const Bf16* p, int n) { return Operand(_mm512_maskz_loadu_epi16(first32(n), p)); }
  static SLUICE_INLINE void store_query(Bf16* q, Operand p) { _mm512_storeu_si512(q, __m512i(p)); }
  static SLUICE_INLINE Operand load_query(const Bf16* q) { return load_pair(q); }
  static SLUICE_INLINE F dot(Operand query, Operand key, F sum) { return _mm512_dpbf16_ps(sum, query, key); }

  // In the place of the n scores, in the first half of their memory. n: a multiple of 32.
  static SLUICE_INLINE const Bf16* weights(float* s, int n) {
    auto* p = reinterpret_cast<Bf16*>(s);
    for (int i = 0; i < n; i += kPair)
      _mm512_storeu_si512(p + i, __m512i(_mm512_cvtne2ps_pbh(load(s + i + simd::kLanes), load(s + i))));
    return p;
  }
  // Of two keys, in every lane.
  static SLUICE_INLINE Operand weight(const Bf16* p) {
    int two;
    __builtin_memcpy(&two, p, sizeof two);
    return Operand(_mm512_set1_epi32(two));
  }
  // Two keys' elements side by side: by fours within 128 bits, from the lower half of each 128 bits and from the upper.
  static SLUICE_INLINE GqaPair<Operand> values(Operand first, Operand second) {
    const auto x = __m512i(first), y = __m512i(second);
    return {Operand(_mm512_unpacklo_epi16(x, y)), Operand(_mm512_unpackhi_epi16(x, y))};
  }
  static SLUICE_INLINE F weigh(Operand weight, Operand value, F sum) { return _mm512_dpbf16_ps(sum, weight, value); }

  template <class X>
  static SLUICE_INLINE GqaPair<F> natural(const GqaPair<F>& p) {
    const __m512i low = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    return {_mm512_permutex2var_ps(p.a, low, p.b), _mm512_permutex2var_ps(p.a, high, p.b)};
  }
};

}  // namespace sluice
