// integer_body.h's lines in AVX-512. Product::dot(sum, w, x) adds to each of sixteen int32 the products of four unsigned bytes of w
// with four signed ones of x: vpdpbusd, or what stands for it.
#pragma once

#include "core/simd_avx512.h"
#include "ops/quant_matmul/even_first.h"
#include "ops/quant_matmul/integer_body.h"

namespace sluice {

template <>
struct GroupParts<simd::Avx512> {
  static SLUICE_INLINE bool finite(__m512 a, __m512 b) {
    constexpr int kNotFinite = 0x99;  // quiet and signalling NaN, both infinities
    return (_mm512_fpclass_ps_mask(a, kNotFinite) | _mm512_fpclass_ps_mask(b, kNotFinite)) == 0;
  }
  static SLUICE_INLINE int32_t sum(const int8_t* q) { return sum_of_16(q) + sum_of_16(q + 16); }
  static SLUICE_INLINE void even_first(int8_t* q) { avx2_even_first(q); }

 private:
  static SLUICE_INLINE int32_t sum_of_16(const int8_t* q) {
    const __m128i codes = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q)), _mm_set1_epi8(char(0x80)));
    const __m128i halves = _mm_sad_epu8(codes, _mm_setzero_si128());
    return _mm_cvtsi128_si32(_mm_add_epi64(halves, _mm_unpackhi_epi64(halves, halves))) - 16 * 128;
  }
};

template <class Product>
struct Avx512Lines {
  using V = simd::Avx512;
  using Line = __m512i;
  static constexpr int kTile = 6, kBlocks = 2;  // twelve sums, and as many in fp32
  static constexpr int kInt8Offset = 128;

  static SLUICE_INLINE Line load(const void* p) { return _mm512_loadu_si512(p); }
  static SLUICE_INLINE Line load_first(const void* p, int64_t n) {
    return _mm512_maskz_loadu_epi8(n >= 64 ? ~uint64_t(0) : (uint64_t(1) << n) - 1, p);
  }
  static SLUICE_INLINE void store(void* p, Line a) { _mm512_storeu_si512(p, a); }
  static SLUICE_INLINE Line set1(int32_t x) { return _mm512_set1_epi32(x); }
  static SLUICE_INLINE Line add(Line a, Line b) { return _mm512_add_epi32(a, b); }
  static SLUICE_INLINE V::F to_float(Line a) { return _mm512_cvtepi32_ps(a); }
  static SLUICE_INLINE V::F lanes(Line a) { return _mm512_castsi512_ps(a); }
  static SLUICE_INLINE Line line(V::F a) { return _mm512_castps_si512(a); }

  static SLUICE_INLINE Line as_stored(Line w) { return _mm512_xor_si512(w, _mm512_set1_epi8(char(0x80))); }
  static SLUICE_INLINE Line low_four(Line w) { return _mm512_and_si512(w, _mm512_set1_epi8(15)); }
  static SLUICE_INLINE Line high_four(Line w) { return low_four(_mm512_srli_epi16(w, 4)); }

  template <bool kInt4>
  static SLUICE_INLINE Line begin(int32_t start) {
    return set1(start);
  }
  static SLUICE_INLINE Line dot(Line sum, Line w, Line x) { return Product::dot(sum, w, x); }
  static SLUICE_INLINE Line end(Line sum, int32_t) { return sum; }

  static SLUICE_INLINE Line sums_of_four(Line a, Line b, Line c, Line d) {
    const Line ab = add(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const Line cd = add(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return add(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  }
  static SLUICE_INLINE Line sums_of_halves(Line a, Line b) {
    return add(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
  }

  static SLUICE_INLINE Line turned(Line a) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), a);
  }
  static SLUICE_INLINE Line even_odd(Line a) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15), a);
  }

  template <class S>
  static SLUICE_INLINE std::pair<V::F, V::F> two_scales(Line both) {
    if constexpr (std::is_same_v<S, Bf16>)
      return {lanes(_mm512_slli_epi32(both, 16)), lanes(_mm512_and_si512(both, _mm512_set1_epi32(int(0xffff0000))))};
    else return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(both)), _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(both, 16)))};
  }
};

}  // namespace sluice
