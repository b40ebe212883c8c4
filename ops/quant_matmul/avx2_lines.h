// integer_body.h's lines in AVX2: two halves of 32 bytes. vpmaddubsw multiplies unsigned bytes by signed ones and adds pairs of
// products in 16 bits, up to 32767.
//
//   int8  |w| and x with the sign of w: two products are 2 * 128 * 127 = 32512 at most; then pairs of pairs in 32 bits
//   int4  two are 2 * 15 * 127 = 3810 at most, so that a whole group, eight such pairs, is 30480 and stays in 16 bits
#pragma once

#include "core/simd_avx2.h"
#include "ops/quant_matmul/even_first.h"
#include "ops/quant_matmul/integer_body.h"

namespace sluice {

template <>
struct GroupParts<simd::Avx2> {
  using F = simd::Avx2::F;
  static SLUICE_INLINE bool finite(F a, F b) {
    const auto none = [](__m256 x, __m256 y) {  // x - x and y - y are 0, or NaN
      return _mm256_cmp_ps(_mm256_sub_ps(x, x), _mm256_sub_ps(y, y), _CMP_UNORD_Q);
    };
    return _mm256_movemask_ps(_mm256_or_ps(none(a.h[0], a.h[1]), none(b.h[0], b.h[1]))) == 0;
  }
  static SLUICE_INLINE int32_t sum(const int8_t* q) {
    const __m256i codes = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)), _mm256_set1_epi8(char(0x80)));
    const __m256i quarters = _mm256_sad_epu8(codes, _mm256_setzero_si256());
    const __m128i halves = _mm_add_epi64(_mm256_castsi256_si128(quarters), _mm256_extracti128_si256(quarters, 1));
    return _mm_cvtsi128_si32(_mm_add_epi64(halves, _mm_unpackhi_epi64(halves, halves))) - kQuantGroup * 128;
  }
  static SLUICE_INLINE void even_first(int8_t* q) { avx2_even_first(q); }
};

struct Avx2Lines {
  using V = simd::Avx2;
  struct Line {
    __m256i h[2];
  };
  struct Pairs {  // of a group of int4, in 16 bits
    __m256i h[2];
  };
  static constexpr int kTile = 4, kBlocks = 1;  // eight registers of sums
  static constexpr int kInt8Offset = 0;

  template <class To = Line, class Fn, class... A>
  static SLUICE_INLINE To halves(Fn f, const A&... a) {
    return {{f(a.h[0]...), f(a.h[1]...)}};
  }

  static SLUICE_INLINE Line load(const void* p) {
    const auto* from = static_cast<const __m256i*>(p);
    return {{_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)}};
  }
  static SLUICE_INLINE Line load_first(const void* p, int64_t n) {  // by way of the stack: there are no masks for bytes
    if (n == 64) return load(p);
    alignas(32) uint8_t bytes[64] = {};
    std::memcpy(bytes, p, size_t(n));
    return load(bytes);
  }
  static SLUICE_INLINE void store(void* p, Line a) {
    auto* to = static_cast<__m256i*>(p);
    _mm256_storeu_si256(to, a.h[0]), _mm256_storeu_si256(to + 1, a.h[1]);
  }
  static SLUICE_INLINE Line set1(int32_t x) { return {{_mm256_set1_epi32(x), _mm256_set1_epi32(x)}}; }
  static SLUICE_INLINE Line add(Line a, Line b) {
    return halves([](__m256i x, __m256i y) { return _mm256_add_epi32(x, y); }, a, b);
  }
  static SLUICE_INLINE V::F to_float(Line a) { return {{_mm256_cvtepi32_ps(a.h[0]), _mm256_cvtepi32_ps(a.h[1])}}; }
  static SLUICE_INLINE V::F lanes(Line a) { return {{_mm256_castsi256_ps(a.h[0]), _mm256_castsi256_ps(a.h[1])}}; }
  static SLUICE_INLINE Line line(V::F a) { return {{_mm256_castps_si256(a.h[0]), _mm256_castps_si256(a.h[1])}}; }

  static SLUICE_INLINE Line as_stored(Line w) { return w; }
  static SLUICE_INLINE Line low_four(Line w) {
    return halves([](__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }, w);
  }
  static SLUICE_INLINE Line high_four(Line w) {
    return halves([](__m256i x) { return _mm256_and_si256(_mm256_srli_epi16(x, 4), _mm256_set1_epi8(15)); }, w);
  }

  template <bool kInt4>
  static SLUICE_INLINE auto begin(int32_t) {
    return std::conditional_t<kInt4, Pairs, Line>{{_mm256_setzero_si256(), _mm256_setzero_si256()}};
  }
  static SLUICE_INLINE Line dot(Line sum, Line w, Line x) {
    const auto half = [](__m256i s, __m256i w, __m256i x) {
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
      return in_order(_mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
    };
    return halves(half, sum, w, x);
  }
  static SLUICE_INLINE Pairs dot(Pairs sum, Line w, Line x) {
    const auto half = [](__m256i s, __m256i w, __m256i x) { return in_order(_mm256_add_epi16(s, _mm256_maddubs_epi16(w, x))); };
    return halves<Pairs>(half, sum, w, x);
  }
  static SLUICE_INLINE Line end(Line sum, int32_t) { return sum; }
  static SLUICE_INLINE Line end(Pairs sum, int32_t start) {
    return add(halves([](__m256i s) { return _mm256_madd_epi16(s, _mm256_set1_epi16(1)); }, sum), set1(start));
  }

  static SLUICE_INLINE Line sums_of_four(Line a, Line b, Line c, Line d) {
    const auto half = [](__m256i a, __m256i b, __m256i c, __m256i d) {
      const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
      const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
      return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    };
    return halves(half, a, b, c, d);
  }
  static SLUICE_INLINE Line sums_of_halves(Line a, Line b) { return {{neighbours(a.h[0], a.h[1]), neighbours(b.h[0], b.h[1])}}; }

  static SLUICE_INLINE Line turned(Line a) {
    const Line pairs = even_odd(a);  // by twos: lanes 0 and 4, and those of the other half 8 and 12
    const __m256i even = _mm256_unpacklo_epi64(pairs.h[0], pairs.h[1]), odd = _mm256_unpackhi_epi64(pairs.h[0], pairs.h[1]);
    return {{_mm256_permute2x128_si256(even, odd, 0x20), _mm256_permute2x128_si256(even, odd, 0x31)}};
  }
  static SLUICE_INLINE Line even_odd(Line a) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    return halves([=](__m256i x) { return _mm256_permutevar8x32_epi32(x, order); }, a);
  }

  template <class S>
  static SLUICE_INLINE std::pair<V::F, V::F> two_scales(Line both) {
    const Line low = halves([](__m256i x) { return _mm256_slli_epi32(x, 16); }, both);
    const Line high = halves([](__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi32(int(0xffff0000))); }, both);
    if constexpr (std::is_same_v<S, Bf16>) return {lanes(low), lanes(high)};
    else return {V::widen_f16(upper(low)), V::widen_f16(upper(high))};
  }

 private:
  // The compiler would form all products of a group before it adds any, and has no registers for them.
  static SLUICE_INLINE __m256i in_order(__m256i sum) {
    __asm__("" : "+x"(sum));
    return sum;
  }
  // The 128-bit quarters of a and b added, neighbour to neighbour.
  static SLUICE_INLINE __m256i neighbours(__m256i a, __m256i b) {
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
  }
  // The upper 16 bits of each lane.
  static SLUICE_INLINE __m256i upper(Line a) {
    const __m256i packed = _mm256_packus_epi32(_mm256_srli_epi32(a.h[0], 16), _mm256_srli_epi32(a.h[1], 16));
    return _mm256_permute4x64_epi64(packed, 0xd8);
  }
};

}  // namespace sluice
