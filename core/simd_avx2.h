// The AVX2 form of core/simd.h: sixteen lanes as two of eight. Included only by files that are compiled with -mavx2 -mfma -mf16c
// (CMake adds the flags to every *_avx2.cc).
#pragma once

#include <immintrin.h>

#include "core/simd.h"

namespace sluice::simd {

struct Avx2 {
  struct F {
    __m256 h[2];  // lanes 0 to 7, and 8 to 15
    SLUICE_INLINE float operator[](int i) const { return h[i / 8][i % 8]; }
  };
  static constexpr int kRegisters = 8;

  // f(a), f(a, b) or f(a, b, c) on each eight lanes.
  template <class Fn, class... A>
  static SLUICE_INLINE F halves(Fn f, const A&... a) {
    return {{f(a.h[0]...), f(a.h[1]...)}};
  }

  static SLUICE_INLINE F zero() { return {{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }
  static SLUICE_INLINE F set1(float x) { return {{_mm256_set1_ps(x), _mm256_set1_ps(x)}}; }
  static SLUICE_INLINE F load(const float* p) { return {{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}}; }
  static SLUICE_INLINE void store(float* p, F a) { _mm256_storeu_ps(p, a.h[0]), _mm256_storeu_ps(p + 8, a.h[1]); }
  // All ones in the lanes below n.
  static SLUICE_INLINE __m256i first(int n, int lane) {
    const __m256i lanes = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(lane));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
  }
  static SLUICE_INLINE F load_n(const float* p, int n) {
    if (n == kLanes) return load(p);
    return {{_mm256_maskload_ps(p, first(n, 0)), n > 8 ? _mm256_maskload_ps(p + 8, first(n, 8)) : _mm256_setzero_ps()}};
  }
  static SLUICE_INLINE void store_n(float* p, F a, int n) {
    if (n == kLanes) return store(p, a);
    _mm256_maskstore_ps(p, first(n, 0), a.h[0]);
    if (n > 8) _mm256_maskstore_ps(p + 8, first(n, 8), a.h[1]);
  }
  // There are no masks for less than 32 bits: by way of the stack.
  template <class X>
  static SLUICE_INLINE F load_n(const X* p, int n) {
    if (n == kLanes) return load(p);
    X lanes[kLanes] = {};
    std::memcpy(lanes, p, size_t(n) * sizeof(X));
    return load(lanes);
  }
  template <class X>
  static SLUICE_INLINE void store_n(X* p, F a, int n) {
    if (n == kLanes) return store(p, a);
    X lanes[kLanes];
    store(lanes, a);
    std::memcpy(p, lanes, size_t(n) * sizeof(X));
  }

  static SLUICE_INLINE __m128i load8(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static SLUICE_INLINE __m256 widen_bf16(__m128i b) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(b), 16)); }
  static SLUICE_INLINE F load(const Bf16* p) { return {{widen_bf16(load8(p)), widen_bf16(load8(p + 8))}}; }
  // Round to nearest even in integer arithmetic, denormals kept.
  static SLUICE_INLINE __m256i upper_half(__m256 a) {
    const __m256i u = _mm256_castps_si256(a);
    const __m256i lsb = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(lsb, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)), quiet = _mm256_set1_epi32(0x400000);
    return _mm256_srli_epi32(_mm256_blendv_epi8(r, _mm256_or_si256(u, quiet), nan), 16);
  }
  static SLUICE_INLINE void store(Bf16* p, F a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_16_bits(upper_half(a.h[0]), upper_half(a.h[1])));
  }

  static SLUICE_INLINE F widen_f16(__m256i x) {
    return {{_mm256_cvtph_ps(_mm256_castsi256_si128(x)), _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1))}};
  }
  static SLUICE_INLINE F load(const F16* p) { return widen_f16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static SLUICE_INLINE void store(F16* p, F a) {
    constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.h[0], kNearest));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.h[1], kNearest));
  }

  // By way of F16: the same bits, moved up, are an F16 2^8 times smaller, denormals included. What would be 480 is NaN.
  static SLUICE_INLINE F load(const F8E4M3* p) {
    const __m256i moved = _mm256_slli_epi16(_mm256_cvtepi8_epi16(load8(p)), 7);
    const F x = widen_f16(_mm256_and_si256(moved, _mm256_set1_epi16(int16_t(0xbf80))));
    return halves(
        [](__m256 scaled, __m256 size) {
          const __m256 is_nan = _mm256_cmp_ps(size, _mm256_set1_ps(480.0f / 256), _CMP_EQ_OQ);
          const __m256 number = _mm256_mul_ps(scaled, _mm256_set1_ps(256.0f));
          return _mm256_blendv_ps(number, _mm256_set1_ps(__builtin_nanf("")), is_nan);
        },
        x, abs(x));
  }
  // An e5m2 is the upper half of an F16.
  static SLUICE_INLINE F load(const F8E5M2* p) { return widen_f16(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load8(p)), 8)); }
  // As F8E4M3(float) and F8E5M2(float) do it, in every lane. most: the largest number's fp32; most_code: its code.
  template <int Mantissa, int Bias>
  static SLUICE_INLINE __m256i narrow_fp8(__m256 a, int most, int most_code) {
    constexpr int kShift = 23 - Mantissa, kHalf = (1 << (kShift - 1)) - 1, kSmallestNormal = (128 - Bias) << 23;
    constexpr int kBeside = (127 + 1 - Bias - Mantissa + 23) << 23;  // fp32 whose last place is that of the denormals
    const __m256i u = _mm256_castps_si256(a), x = _mm256_and_si256(u, _mm256_set1_epi32(0x7fffffff));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(x, kShift), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(x, _mm256_add_epi32(odd, _mm256_set1_epi32(kHalf - ((127 - Bias) << 23))));
    const __m256i beside = _mm256_set1_epi32(kBeside);
    const __m256 beside_x = _mm256_add_ps(_mm256_castsi256_ps(x), _mm256_castsi256_ps(beside));
    const __m256i small = _mm256_sub_epi32(_mm256_castps_si256(beside_x), beside);
    const auto where = [](__m256i r, __m256i mask, __m256i other) { return _mm256_blendv_epi8(r, other, mask); };
    __m256i r = _mm256_srli_epi32(rounded, kShift);
    r = where(r, _mm256_cmpgt_epi32(_mm256_set1_epi32(kSmallestNormal), x), small);
    r = where(r, _mm256_cmpgt_epi32(x, _mm256_set1_epi32(most - 1)), _mm256_set1_epi32(most_code));
    r = where(r, _mm256_cmpgt_epi32(x, _mm256_set1_epi32(0x7f800000)), _mm256_set1_epi32(0x7f));  // NaN
    return _mm256_or_si256(r, _mm256_and_si256(_mm256_srli_epi32(u, 24), _mm256_set1_epi32(0x80)));
  }
  template <int Mantissa, int Bias>
  static SLUICE_INLINE void store_fp8(void* p, F a, int most, int most_code) {
    const __m256i low = narrow_fp8<Mantissa, Bias>(a.h[0], most, most_code);
    const __m256i codes = to_16_bits(low, narrow_fp8<Mantissa, Bias>(a.h[1], most, most_code));
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packus_epi16(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)));
  }
  static SLUICE_INLINE void store(F8E4M3* p, F a) { store_fp8<3, 7>(p, a, 0x43e00000, 0x7e); }   // 448
  static SLUICE_INLINE void store(F8E5M2* p, F a) { store_fp8<2, 15>(p, a, 0x47600000, 0x7b); }  // 57344

  // As the plain form.
  static SLUICE_INLINE __m256i whole(__m256 a) {
    const __m256 near = _mm256_min_ps(_mm256_max_ps(a, _mm256_set1_ps(-127.0f)), _mm256_set1_ps(127.0f));
    return _mm256_and_si256(_mm256_cvtps_epi32(near), _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_ORD_Q)));
  }
  static SLUICE_INLINE void store(int8_t* p, F a) {
    const __m256i pairs = _mm256_packs_epi32(whole(a.h[0]), whole(a.h[1])), ordered = _mm256_permute4x64_epi64(pairs, 0xd8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
  }
  static SLUICE_INLINE F load(const int8_t* p) {
    const __m128i x = load8(p);
    return {{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))}};
  }

  // The block is widened as it lies; columns of four are its rows transposed, four by four.
  template <int W, class X>
  static SLUICE_INLINE void load_columns(const X* p, int n, F (&column)[W]) {
    float block[W * kLanes];
#pragma GCC unroll 4
    for (int j = 0; j < W; ++j) {
      const int left = n * W - j * kLanes;
      store(block + j * kLanes, left > 0 ? load_n(p + j * kLanes, left < kLanes ? left : kLanes) : zero());
    }
    if constexpr (W == 4) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        __m256 row[4];  // rows i and i + 4
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const float* low = block + (8 * h + i) * 4;
          row[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(low + 16), 1);
        }
        transpose4(row);
#pragma GCC unroll 4
        for (int w = 0; w < 4; ++w) column[w].h[h] = row[w];
      }
    } else {
      for (int w = 0; w < W; ++w) {
        float lanes[kLanes];
        for (int i = 0; i < kLanes; ++i) lanes[i] = block[i * W + w];
        column[w] = load(lanes);
      }
    }
  }

  static SLUICE_INLINE F add(F a, F b) {
    return halves([](__m256 x, __m256 y) { return _mm256_add_ps(x, y); }, a, b);
  }
  static SLUICE_INLINE F sub(F a, F b) {
    return halves([](__m256 x, __m256 y) { return _mm256_sub_ps(x, y); }, a, b);
  }
  static SLUICE_INLINE F mul(F a, F b) {
    return halves([](__m256 x, __m256 y) { return _mm256_mul_ps(x, y); }, a, b);
  }
  static SLUICE_INLINE F div(F a, F b) {
    return halves([](__m256 x, __m256 y) { return _mm256_div_ps(x, y); }, a, b);
  }
  static SLUICE_INLINE F fma(F a, F b, F c) {
    return halves([](__m256 x, __m256 y, __m256 z) { return _mm256_fmadd_ps(x, y, z); }, a, b, c);
  }
  static SLUICE_INLINE F fnma(F a, F b, F c) {
    return halves([](__m256 x, __m256 y, __m256 z) { return _mm256_fnmadd_ps(x, y, z); }, a, b, c);
  }
  static SLUICE_INLINE F min(F a, F b) {
    return halves([](__m256 x, __m256 y) { return _mm256_min_ps(x, y); }, a, b);
  }
  static SLUICE_INLINE F max(F a, F b) {
    return halves([](__m256 x, __m256 y) { return _mm256_max_ps(x, y); }, a, b);
  }
  static SLUICE_INLINE uint32_t greater(F a, F b) {
    const auto bits = [](__m256 x, __m256 y) { return uint32_t(_mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_GT_OQ))); };
    return bits(a.h[0], b.h[0]) | bits(a.h[1], b.h[1]) << 8;
  }
  static SLUICE_INLINE F sqrt(F a) {
    return halves([](__m256 x) { return _mm256_sqrt_ps(x); }, a);
  }
  static SLUICE_INLINE F abs(F a) {
    return halves([](__m256 x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }, a);
  }
  static SLUICE_INLINE F round(F a) {
    return halves([](__m256 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }, a);
  }
  // As the plain form, in two steps.
  static SLUICE_INLINE F scale_by_power_of_2(F a, F n) {
    return halves(
        [](__m256 x, __m256 power) {
          const __m256i whole = _mm256_cvtps_epi32(power), half = _mm256_srai_epi32(whole, 1);
          return _mm256_mul_ps(_mm256_mul_ps(x, power_of_2(half)), power_of_2(_mm256_sub_epi32(whole, half)));
        },
        a, n);
  }

  // Rows become columns, in four squares of 8 by 8.
  static SLUICE_INLINE void transpose(F (&r)[kLanes]) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) transpose_square(r, 8 * h, h, r, 8 * h, h);
    __m256 corner[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) corner[i] = r[i].h[1];
    transpose8(corner);
    transpose_square(r, 8, 0, r, 0, 1);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[8 + i].h[0] = corner[i];
  }
  static SLUICE_INLINE F swap_pairs(F a) {  // lanes 1, 0, 3, 2, ...
    return halves([](__m256 x) { return _mm256_permute_ps(x, 0xb1); }, a);
  }

  template <int kApart>
  static SLUICE_INLINE F swap_apart(F a) {
    if constexpr (kApart == 8) return {{a.h[1], a.h[0]}};
    if constexpr (kApart == 4) return halves([](__m256 x) { return _mm256_permute2f128_ps(x, x, 1); }, a);
    if constexpr (kApart == 1) return swap_pairs(a);
    return halves([](__m256 x) { return _mm256_permute_ps(x, 0x4e); }, a);
  }

  static SLUICE_INLINE float reduce_add(F a) {
    const __m256 s8 = _mm256_add_ps(a.h[0], a.h[1]);
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
  }
  // out[i] = reduce_add(a[i]), the same tree, with the vectors side by side: at each level two vectors become one.
  static SLUICE_INLINE void reduce_add8(const F (&a)[8], float* out) {
    __m256 four[4], two[2];  // sums of four lanes of i and i + 4, then of two lanes of i, i + 1, i + 4 and i + 5
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256 low = _mm256_add_ps(a[i].h[0], a[i].h[1]), high = _mm256_add_ps(a[i + 4].h[0], a[i + 4].h[1]);
      four[i] = _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) two[i] = add_lanes<0x44, 0xee>(four[2 * i], four[2 * i + 1]);
    _mm256_storeu_ps(out, add_lanes<0x88, 0xdd>(two[0], two[1]));
  }
  static SLUICE_INLINE float reduce_max(F a) {
    const __m256 m8 = _mm256_max_ps(a.h[0], a.h[1]);
    const __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    const __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_shuffle_ps(m2, m2, 1)));
  }

  // What `Low` selects of a and b in each 128 bits plus what `High` selects.
  template <int Low, int High>
  static SLUICE_INLINE __m256 add_lanes(__m256 a, __m256 b) {
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, Low), _mm256_shuffle_ps(a, b, High));
  }

  // Four rows become columns, in each 128 bits.
  static SLUICE_INLINE void transpose4(__m256 (&r)[4]) {
    const __m256 a = _mm256_unpacklo_ps(r[0], r[1]), b = _mm256_unpackhi_ps(r[0], r[1]);
    const __m256 c = _mm256_unpacklo_ps(r[2], r[3]), d = _mm256_unpackhi_ps(r[2], r[3]);
    r[0] = _mm256_shuffle_ps(a, c, 0x44), r[1] = _mm256_shuffle_ps(a, c, 0xee);
    r[2] = _mm256_shuffle_ps(b, d, 0x44), r[3] = _mm256_shuffle_ps(b, d, 0xee);
  }

 private:
  // Sixteen numbers of 32 bits, none above 65535, in 16 bits each.
  static SLUICE_INLINE __m256i to_16_bits(__m256i low, __m256i high) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
  }
  static SLUICE_INLINE __m256 power_of_2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static SLUICE_INLINE void transpose8(__m256 (&r)[8]) {
    __m256 upper[4], lower[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) upper[i] = r[i], lower[i] = r[i + 4];
    transpose4(upper), transpose4(lower);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(upper[i], lower[i], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(upper[i], lower[i], 0x31);
    }
  }
  // Rows from `row` on of half h, transposed to rows from `to_row` on of half to_h.
  static SLUICE_INLINE void transpose_square(const F (&r)[kLanes], int row, int h, F (&to)[kLanes], int to_row, int to_h) {
    __m256 square[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) square[i] = r[row + i].h[h];
    transpose8(square);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) to[to_row + i].h[to_h] = square[i];
  }
};

}  // namespace sluice::simd
