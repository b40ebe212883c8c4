// The AVX-512 form of lanes.h.
#pragma once

#include "core/simd_avx512.h"
#include "ops/gqa_prefill/lanes.h"

namespace sluice {

struct GqaAvx512 : GqaFma<simd::Avx512> {
  // Half of the 32 registers: enough sums in flight for two FMAs a cycle of latency 4, and room for what they are made from.
  static constexpr int kSums = 16, kMostRows = 8;
  using Pair = GqaPair<F>;

  static SLUICE_INLINE Pair load_pair(const float* p) { return {load(p), load(p + simd::kLanes)}; }
  static SLUICE_INLINE Pair load_pair_n(const float* p, int n) {
    const __mmask32 m = first32(n);
    return {_mm512_maskz_loadu_ps(__mmask16(m), p), _mm512_maskz_loadu_ps(__mmask16(m >> 16), p + simd::kLanes)};
  }
  // Even elements, then odd ones: a bf16 is the upper half of an fp32, so one shift and one mask widen 32 of them.
  static SLUICE_INLINE Pair load_pair(const Bf16* p) { return even_odd(_mm512_loadu_si512(p)); }
  static SLUICE_INLINE Pair load_pair_n(const Bf16* p, int n) { return even_odd(_mm512_maskz_loadu_epi16(first32(n), p)); }
  static SLUICE_INLINE Pair even_odd(__m512i x) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(int(0xffff0000u))))};
  }
  static SLUICE_INLINE __mmask32 first32(int n) { return __mmask32((uint64_t(1) << n) - 1); }

  // The pair in the order of the row that it came from.
  template <class X>
  static SLUICE_INLINE Pair natural(const Pair& p) {
    if constexpr (sizeof(X) == sizeof(float)) return p;
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    return {_mm512_permutex2var_ps(p.a, low, p.b), _mm512_permutex2var_ps(p.a, high, p.b)};
  }

  // out[i] = reduce_add(sums[i]), by the same tree; two vectors share each step, so 30 shuffles do what 64 would.
  static SLUICE_INLINE void reduce_add_each(const F (&sums)[kSums], float* out) {
    F eights[8], fours[4], twos[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const int first = i % 4 + i / 4 * 8;
      eights[i] = add_quarters<0x44, 0xee>(sums[first], sums[first + 4]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) fours[i] = add_quarters<0x88, 0xdd>(eights[i], eights[i + 4]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) twos[i] = add_lanes<0x44, 0xee>(fours[2 * i], fours[2 * i + 1]);
    store(out, add_lanes<0x88, 0xdd>(twos[0], twos[1]));
  }

 private:
  // What `Low` selects of a and b plus what `High` selects: whole quarters, or lanes within each quarter.
  template <int Low, int High>
  static SLUICE_INLINE F add_quarters(F a, F b) {
    return add(_mm512_shuffle_f32x4(a, b, Low), _mm512_shuffle_f32x4(a, b, High));
  }
  template <int Low, int High>
  static SLUICE_INLINE F add_lanes(F a, F b) {
    return add(_mm512_shuffle_ps(a, b, Low), _mm512_shuffle_ps(a, b, High));
  }
};

}  // namespace sluice
