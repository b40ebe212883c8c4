// The AVX-512 form of core/simd.h. Included only by files that are compiled with -mavx512f -mavx512bw -mavx512vl -mavx512dq
// (CMake adds the flags to every *_avx512*.cc and *_amx.cc).
#pragma once

// g++ 12 takes the placeholders in its own AVX-512 headers for uninitialised variables.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "core/simd.h"

namespace sluice::simd {

struct Avx512 {
  using F = __m512;
  static constexpr int kRegisters = 32;

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

  static SLUICE_INLINE F load(const F16* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static SLUICE_INLINE F load_n(const F16* p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p)); }
  static SLUICE_INLINE __m256i halves(F a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static SLUICE_INLINE void store(F16* p, F a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves(a)); }
  static SLUICE_INLINE void store_n(F16* p, F a, int n) { _mm256_mask_storeu_epi16(p, first(n), halves(a)); }

  // By way of halves: the same bits, moved up, are a half 2^8 times smaller, denormals included. What would be 480 is NaN.
  static SLUICE_INLINE F widen_e4m3(__m128i b) {
    const __m256i half = _mm256_and_si256(_mm256_slli_epi16(_mm256_cvtepi8_epi16(b), 7), _mm256_set1_epi16(int16_t(0xbf80)));
    const F x = _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
    return _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(abs(x), _mm512_set1_ps(480.0f), _CMP_EQ_OQ),
                              _mm512_set1_ps(__builtin_nanf("")));
  }
  static SLUICE_INLINE F load(const F8E4M3* p) { return widen_e4m3(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static SLUICE_INLINE F load_n(const F8E4M3* p, int n) { return widen_e4m3(_mm_maskz_loadu_epi8(first(n), p)); }
  // An e5m2 is the upper half of a half.
  static SLUICE_INLINE F widen_e5m2(__m128i b) { return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(b), 8)); }
  static SLUICE_INLINE F load(const F8E5M2* p) { return widen_e5m2(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  static SLUICE_INLINE F load_n(const F8E5M2* p, int n) { return widen_e5m2(_mm_maskz_loadu_epi8(first(n), p)); }
  // As F8E4M3(float) and F8E5M2(float) do it, in every lane. most: the largest number's fp32; most_code: its code.
  template <int Mantissa, int Bias>
  static SLUICE_INLINE __m128i narrow_fp8(F a, int most, int most_code) {
    constexpr int kShift = 23 - Mantissa, kHalf = (1 << (kShift - 1)) - 1, kSmallestNormal = (128 - Bias) << 23;
    constexpr int kBeside = (127 + 1 - Bias - Mantissa + 23) << 23;  // fp32 whose last place is that of the denormals
    const __m512i u = _mm512_castps_si512(a), x = _mm512_and_si512(u, _mm512_set1_epi32(0x7fffffff));
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(x, kShift), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(kHalf - ((127 - Bias) << 23))));
    __m512i r = _mm512_srli_epi32(rounded, kShift);
    const __m512i beside = _mm512_set1_epi32(kBeside);
    const F beside_x = _mm512_add_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(beside));
    const __m512i small = _mm512_sub_epi32(_mm512_castps_si512(beside_x), beside);
    r = _mm512_mask_mov_epi32(r, _mm512_cmplt_epi32_mask(x, _mm512_set1_epi32(kSmallestNormal)), small);
    r = _mm512_mask_mov_epi32(r, _mm512_cmpge_epi32_mask(x, _mm512_set1_epi32(most)), _mm512_set1_epi32(most_code));
    r = _mm512_mask_mov_epi32(r, _mm512_cmpgt_epi32_mask(x, _mm512_set1_epi32(0x7f800000)), _mm512_set1_epi32(0x7f));  // NaN
    return _mm512_cvtepi32_epi8(_mm512_or_si512(r, _mm512_and_si512(_mm512_srli_epi32(u, 24), _mm512_set1_epi32(0x80))));
  }
  static SLUICE_INLINE __m128i narrow_e4m3(F a) { return narrow_fp8<3, 7>(a, 0x43e00000, 0x7e); }   // 448
  static SLUICE_INLINE __m128i narrow_e5m2(F a) { return narrow_fp8<2, 15>(a, 0x47600000, 0x7b); }  // 57344
  static SLUICE_INLINE void store(F8E4M3* p, F a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_e4m3(a)); }
  static SLUICE_INLINE void store_n(F8E4M3* p, F a, int n) { _mm_mask_storeu_epi8(p, first(n), narrow_e4m3(a)); }
  static SLUICE_INLINE void store(F8E5M2* p, F a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_e5m2(a)); }
  static SLUICE_INLINE void store_n(F8E5M2* p, F a, int n) { _mm_mask_storeu_epi8(p, first(n), narrow_e5m2(a)); }

  // As the plain form.
  static SLUICE_INLINE __m128i whole(F a) {
    const F near = _mm512_min_ps(_mm512_max_ps(a, _mm512_set1_ps(-127.0f)), _mm512_set1_ps(127.0f));
    return _mm512_maskz_cvtepi32_epi8(_mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), _mm512_cvtps_epi32(near));
  }
  static SLUICE_INLINE void store(int8_t* p, F a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), whole(a)); }
  static SLUICE_INLINE void store_n(int8_t* p, F a, int n) { _mm_mask_storeu_epi8(p, first(n), whole(a)); }
  static SLUICE_INLINE F load(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  // The block is loaded whole, then a column is one two-table permutation of it (fp32: two, for tables of 32 elements each).
  template <int W>
  static SLUICE_INLINE void load_columns(const float* p, int n, F (&column)[W]) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const uint64_t wanted = n * W == 64 ? ~uint64_t(0) : (uint64_t(1) << (n * W)) - 1;
    F part[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) part[j] = _mm512_maskz_loadu_ps(__mmask16(wanted >> (16 * j)), p + 16 * j);
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) {
      const __m512i index = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(W)), _mm512_set1_epi32(w));
      const F low = _mm512_permutex2var_ps(part[0], index, part[1]), high = _mm512_permutex2var_ps(part[2], index, part[3]);
      column[w] = _mm512_mask_blend_ps(_mm512_cmpge_epi32_mask(index, _mm512_set1_epi32(32)), low, high);
    }
  }
  template <int W>
  static SLUICE_INLINE void load_columns(const Bf16* p, int n, F (&column)[W]) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const uint64_t wanted = n * W == 64 ? ~uint64_t(0) : (uint64_t(1) << (n * W)) - 1;
    const __m512i low = _mm512_maskz_loadu_epi16(__mmask32(wanted), p), high = _mm512_maskz_loadu_epi16(wanted >> 32, p + 32);
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) {  // into the upper half of each fp32, zeros below
      const __m512i index = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(W)), _mm512_set1_epi32(w));
      column[w] = _mm512_castsi512_ps(_mm512_maskz_permutex2var_epi16(0xaaaaaaaau, low, _mm512_slli_epi32(index, 16), high));
    }
  }

  static SLUICE_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
  static SLUICE_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static SLUICE_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static SLUICE_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
  static SLUICE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static SLUICE_INLINE F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static SLUICE_INLINE F min(F a, F b) { return _mm512_min_ps(a, b); }
  static SLUICE_INLINE F max(F a, F b) { return _mm512_max_ps(a, b); }
  static SLUICE_INLINE uint32_t greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static SLUICE_INLINE F sqrt(F a) { return _mm512_sqrt_ps(a); }
  static SLUICE_INLINE F abs(F a) { return _mm512_abs_ps(a); }
  static SLUICE_INLINE F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static SLUICE_INLINE F scale_by_power_of_2(F a, F n) { return _mm512_scalef_ps(a, n); }

  // Rows become columns: pairs, then fours within 128 bits, then 128-bit quarters, each step halving the distance to go.
  static SLUICE_INLINE void transpose(F (&r)[kLanes]) {
    F t[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes; i += 2) t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
#pragma GCC unroll 4
    for (int i = 0; i < kLanes; i += 4)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {  // r[4 * i + c], lane q of 128 bits: column 4 * q + c of rows 4 * i to 4 * i + 3
        const __m512d low = _mm512_castps_pd(t[i + h]), high = _mm512_castps_pd(t[i + h + 2]);
        r[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
        r[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
      }
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const F even01 = _mm512_shuffle_f32x4(r[c], r[c + 4], 0x88), odd01 = _mm512_shuffle_f32x4(r[c], r[c + 4], 0xdd);
      const F even23 = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0x88), odd23 = _mm512_shuffle_f32x4(r[c + 8], r[c + 12], 0xdd);
      t[c] = _mm512_shuffle_f32x4(even01, even23, 0x88), t[c + 8] = _mm512_shuffle_f32x4(even01, even23, 0xdd);
      t[c + 4] = _mm512_shuffle_f32x4(odd01, odd23, 0x88), t[c + 12] = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) r[i] = t[i];
  }

  static SLUICE_INLINE F swap_pairs(F a) { return _mm512_permute_ps(a, 0xb1); }  // lanes 1, 0, 3, 2, ...

  template <int kApart>
  static SLUICE_INLINE F swap_apart(F a) {
    if constexpr (kApart == 8) return _mm512_shuffle_f32x4(a, a, 0x4e);
    if constexpr (kApart == 4) return _mm512_shuffle_f32x4(a, a, 0xb1);
    if constexpr (kApart == 1) return swap_pairs(a);
    return _mm512_permute_ps(a, 0x4e);
  }

  static SLUICE_INLINE float reduce_add(F a) {
    const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }
  // out[i] = reduce_add(a[i]), the same tree, with the vectors side by side: at each level two vectors become one.
  static SLUICE_INLINE void reduce_add8(const F (&a)[8], float* out) {
    const auto halves = [](F x, F y) {  // x[l] + x[l + 8], l < 8, then y's
      return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
    };
    const auto quarters = [](F x, F y) {  // four of each of x's two vectors, then y's
      return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
    };
    const F q0 = quarters(halves(a[0], a[1]), halves(a[2], a[3])), q1 = quarters(halves(a[4], a[5]), halves(a[6], a[7]));
    const F s = _mm512_add_ps(_mm512_shuffle_ps(q0, q1, 0x44), _mm512_shuffle_ps(q0, q1, 0xee));  // 128 bits: 2 of i, 2 of i + 4
    const F t = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm256_storeu_ps(out, _mm512_castps512_ps256(_mm512_permutexvar_ps(order, t)));
  }
  static SLUICE_INLINE float reduce_max(F a) { return _mm512_reduce_max_ps(a); }
};

}  // namespace sluice::simd
