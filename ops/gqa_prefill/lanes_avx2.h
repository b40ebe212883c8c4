// The AVX2 form of lanes.h.
#pragma once

#include "core/simd_avx2.h"
#include "ops/gqa_prefill/lanes.h"

namespace sluice {

struct GqaAvx2 : GqaFma<simd::Avx2> {
  // Half of the 16 registers: eight chains keep two FMAs a cycle of latency 4 busy.
  static constexpr int kSums = 4, kMostRows = 2;
  using Pair = GqaPair<F>;

  static SLUICE_INLINE Pair load_pair(const float* p) { return {load(p), load(p + simd::kLanes)}; }
  // Even elements, then odd ones: a bf16 is the upper half of an fp32, so one shift and one mask widen sixteen of them.
  static SLUICE_INLINE Pair load_pair(const Bf16* p) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + simd::kLanes));
    return {{{even(low), even(high)}}, {{odd(low), odd(high)}}};
  }
  template <class X>
  static SLUICE_INLINE Pair load_pair_n(const X* p, int n) {
    if (n == kPair) return load_pair(p);
    X lanes[kPair] = {};
    std::memcpy(lanes, p, size_t(n) * sizeof(X));
    return load_pair(lanes);
  }

  // The pair in the order of the row that it came from.
  template <class X>
  static SLUICE_INLINE Pair natural(const Pair& p) {
    if constexpr (sizeof(X) == sizeof(float)) return p;
    return {interleaved(p.a.h[0], p.b.h[0]), interleaved(p.a.h[1], p.b.h[1])};
  }

  // out[i] = reduce_add(sums[i]), by the same tree; two vectors share each step.
  static SLUICE_INLINE void reduce_add_each(const F (&sums)[kSums], float* out) {
    __m256 eight[kSums], two[2];
#pragma GCC unroll 4
    for (int i = 0; i < kSums; ++i) eight[i] = _mm256_add_ps(sums[i].h[0], sums[i].h[1]);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i)  // four lanes of i and of i + 2
      two[i] =
          _mm256_add_ps(_mm256_permute2f128_ps(eight[i], eight[i + 2], 0x20), _mm256_permute2f128_ps(eight[i], eight[i + 2], 0x31));
    const __m256 pairs = add_lanes<0x44, 0xee>(two[0], two[1]);  // two lanes of 0 and 1, then of 2 and 3
    const __m256 lanes = add_lanes<0x88, 0xdd>(pairs, pairs);
    const __m128 low = _mm256_castps256_ps128(lanes), high = _mm256_extractf128_ps(lanes, 1);
    _mm_storeu_ps(out, _mm_movelh_ps(low, high));
  }

 private:
  static SLUICE_INLINE __m256 even(__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
  static SLUICE_INLINE __m256 odd(__m256i x) {
    return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(int(0xffff0000u))));
  }
  static SLUICE_INLINE F interleaved(__m256 even, __m256 odd) {
    const __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    return {{_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)}};
  }
};

}  // namespace sluice
