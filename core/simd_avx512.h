// The AVX-512 form of core/simd.h. Included only by files that are compiled with -mavx512f -mavx512bw -mavx512vl -mavx512dq
// (CMake adds the flags to every *_avx512*.cc and *_amx.cc).
#pragma once

#include <immintrin.h>

#include "core/simd.h"

namespace sluice::simd {

struct Avx512 {
  using F = __m512;

  static SLUICE_INLINE __mmask16 first(int n) { return __mmask16((1u << n) - 1u); }

  static SLUICE_INLINE F zero() { return _mm512_setzero_ps(); }
  static SLUICE_INLINE F set1(float x) { return _mm512_set1_ps(x); }
  static SLUICE_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
  static SLUICE_INLINE void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static SLUICE_INLINE F load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static SLUICE_INLINE void store_n(float* p, F a, int n) { _mm512_mask_storeu_ps(p, first(n), a); }

  static SLUICE_INLINE F widen(__m256i b) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16)); }
  static SLUICE_INLINE F load(const Bf16* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static SLUICE_INLINE F load_n(const Bf16* p, int n) { return widen(_mm256_maskz_loadu_epi16(first(n), p)); }
  // Round to nearest even in integer arithmetic: the same bits with and without the bf16 instructions, denormals kept.
  static SLUICE_INLINE __m256i narrow(F a) {
    const __m512i u = _mm512_castps_si512(a);
    const __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
  }
  static SLUICE_INLINE void store(Bf16* p, F a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(a)); }
  static SLUICE_INLINE void store_n(Bf16* p, F a, int n) { _mm256_mask_storeu_epi16(p, first(n), narrow(a)); }

  static SLUICE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static SLUICE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static SLUICE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static SLUICE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static SLUICE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static SLUICE_INLINE F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static SLUICE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  static SLUICE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static SLUICE_INLINE F sqrt(F a) { return _mm512_sqrt_ps(a); }
  static SLUICE_INLINE F abs(F a) { return _mm512_abs_ps(a); }
  static SLUICE_INLINE F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static SLUICE_INLINE F scale_by_power_of_2(F a, F n) { return _mm512_scalef_ps(a, n); }

  static SLUICE_INLINE float reduce_add(F a) {
    const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }
  static SLUICE_INLINE float reduce_max(F a) { return _mm512_reduce_max_ps(a); }
};

}  // namespace sluice::simd
