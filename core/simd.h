// Sixteen fp32 lanes, the same interface for every instruction set, so that an operator's body is written once.
//
// A body is a template over an instruction set type `V` (simd::Plain, simd::Avx512 in core/simd_avx512.h); each cpu*.cc file
// instantiates it for one of them. Plain uses the compiler's vector extension and runs on any CPU.
// Rules for bodies: a multiply-add that may be fused is written fma() (never a * b + c in one expression is relied on to fuse:
// the build says -ffp-contract=off), and a tail is handled with load_n / store_n so that it takes the same arithmetic.
// Results are the same bits for every call of one instruction set; Plain rounds twice in fma() and so differs from Avx512.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

#define SLUICE_INLINE inline __attribute__((always_inline))

namespace sluice::simd {

inline constexpr int kLanes = 16;

struct Plain {
  using F = float __attribute__((vector_size(64)));
  using I = int32_t __attribute__((vector_size(64)));

  static SLUICE_INLINE F zero() { return F{}; }
  static SLUICE_INLINE F set1(float x) { return F{} + x; }
  static SLUICE_INLINE F load(const float* p) { F r; std::memcpy(&r, p, sizeof r); return r; }
  static SLUICE_INLINE void store(float* p, F a) { std::memcpy(p, &a, sizeof a); }
  // The first n lanes, 0 <= n <= 16; the others are zero, and their memory is not touched.
  static SLUICE_INLINE F load_n(const float* p, int n) {
    if (n == kLanes) return load(p);
    F r{};
    for (int i = 0; i < n; ++i) r[i] = p[i];
    return r;
  }
  static SLUICE_INLINE void store_n(float* p, F a, int n) {
    if (n == kLanes) return store(p, a);
    for (int i = 0; i < n; ++i) p[i] = a[i];
  }

  static SLUICE_INLINE F load(const Bf16* p) {
    F r;
    for (int i = 0; i < kLanes; ++i) r[i] = float(p[i]);
    return r;
  }
  static SLUICE_INLINE F load_n(const Bf16* p, int n) {
    if (n == kLanes) return load(p);
    F r{};
    for (int i = 0; i < n; ++i) r[i] = float(p[i]);
    return r;
  }
  static SLUICE_INLINE void store(Bf16* p, F a) {  // rounds to nearest even
    for (int i = 0; i < kLanes; ++i) p[i] = Bf16(a[i]);
  }
  static SLUICE_INLINE void store_n(Bf16* p, F a, int n) {
    if (n == kLanes) return store(p, a);
    for (int i = 0; i < n; ++i) p[i] = Bf16(a[i]);
  }

  // Columns of a row-major [n, W] block, W <= 4: lane i of column[w] is p[i * W + w]; lanes from n on are zero.
  template <int W, class X>
  static SLUICE_INLINE void load_columns(const X* p, int n, F (&column)[W]) {
    for (int w = 0; w < W; ++w) {
      column[w] = zero();
      for (int i = 0; i < n; ++i) column[w][i] = float(p[i * W + w]);
    }
  }

  static SLUICE_INLINE F add(F a, F b) { return a + b; }
  static SLUICE_INLINE F sub(F a, F b) { return a - b; }
  static SLUICE_INLINE F mul(F a, F b) { return a * b; }
  static SLUICE_INLINE F div(F a, F b) { return a / b; }
  static SLUICE_INLINE F fma(F a, F b, F c) { return a * b + c; }   // a * b + c
  static SLUICE_INLINE F fnma(F a, F b, F c) { return c - a * b; }  // c - a * b
  static SLUICE_INLINE F min(F a, F b) { return a < b ? a : b; }    // b where either is NaN
  static SLUICE_INLINE F max(F a, F b) { return a > b ? a : b; }
  static SLUICE_INLINE F sqrt(F a) {
    F r;
    for (int i = 0; i < kLanes; ++i) r[i] = __builtin_sqrtf(a[i]);
    return r;
  }
  static SLUICE_INLINE F abs(F a) {
    I bits;
    std::memcpy(&bits, &a, sizeof a);
    bits &= 0x7fffffff;
    std::memcpy(&a, &bits, sizeof a);
    return a;
  }
  static SLUICE_INLINE F round(F a) {  // nearest even, for |a| < 2^22
    const F magic = set1(12582912.0f);
    return (a + magic) - magic;
  }
  // a * 2^n for integral n in [-252, 252]; in two steps, so that results below the normal range are right.
  static SLUICE_INLINE F scale_by_power_of_2(F a, F n) {
    const I whole = __builtin_convertvector(n, I), half = whole >> 1, rest = whole - half;
    const I hb = (half + 127) << 23, rb = (rest + 127) << 23;
    F h, r;
    std::memcpy(&h, &hb, sizeof h), std::memcpy(&r, &rb, sizeof r);
    return a * h * r;
  }

  // Rows become columns.
  static SLUICE_INLINE void transpose(F (&r)[kLanes]) {
    for (int i = 0; i < kLanes; ++i)
      for (int j = 0; j < i; ++j) {
        const float t = r[i][j];
        r[i][j] = r[j][i], r[j][i] = t;
      }
  }
  static SLUICE_INLINE F swap_pairs(F a) {  // lanes 1, 0, 3, 2, ...
    return __builtin_shuffle(a, I{1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14});
  }

  // Sum of the lanes, in one fixed tree: 8 apart, then 4, 2, 1.
  static SLUICE_INLINE float reduce_add(F a) {
    for (int step = 8; step > 0; step /= 2)
      for (int i = 0; i < step; ++i) a[i] = a[i] + a[i + step];
    return a[0];
  }
  // out[i] = reduce_add(a[i]), the same tree.
  static SLUICE_INLINE void reduce_add8(const F (&a)[8], float* out) {
    for (int i = 0; i < 8; ++i) out[i] = reduce_add(a[i]);
  }
  static SLUICE_INLINE float reduce_max(F a) {
    float m = a[0];
    for (int i = 1; i < kLanes; ++i) m = a[i] > m ? a[i] : m;
    return m;
  }
};

// Functions of 16 lanes. Errors are in units in the last place (ulp) against fp64, seen by core/simd_test.cc.

// e^x, 2 ulp; 0 below -104, infinity above 88.8; NaN stays NaN. Range reduction by ln 2 in two parts, degree-7 polynomial
// (coefficients: Cephes expf, S. Moshier).
template <class V>
SLUICE_INLINE typename V::F exp(typename V::F x) {
  using F = typename V::F;
  x = V::max(V::set1(-104.0f), V::min(V::set1(89.0f), x));
  const F n = V::round(V::mul(x, V::set1(1.44269504088896341f)));
  F r = V::fnma(n, V::set1(0.693359375f), x);
  r = V::fnma(n, V::set1(-2.12194440e-4f), r);
  F p = V::set1(1.9875691500e-4f);
  p = V::fma(p, r, V::set1(1.3981999507e-3f));
  p = V::fma(p, r, V::set1(8.3334519073e-3f));
  p = V::fma(p, r, V::set1(4.1665795894e-2f));
  p = V::fma(p, r, V::set1(1.6666665459e-1f));
  p = V::fma(p, r, V::set1(5.0000001201e-1f));
  p = V::fma(p, V::mul(r, r), V::add(r, V::set1(1.0f)));
  return V::scale_by_power_of_2(p, n);
}

// log(1 + y) for 0 <= y <= 1, relative error below 4e-7: 2 atanh(y / (2 + y)) as a series, no cancellation for small y.
template <class V>
SLUICE_INLINE typename V::F log1p_unit(typename V::F y) {
  using F = typename V::F;
  const F z = V::div(y, V::add(y, V::set1(2.0f))), z2 = V::mul(z, z);
  F p = V::set1(1.0f / 15);
#pragma GCC unroll 8
  for (const float c : {1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3, 1.0f}) p = V::fma(p, z2, V::set1(c));
  return V::mul(V::add(z, z), p);
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|): no overflow, small results keep their relative accuracy.
template <class V>
SLUICE_INLINE typename V::F softplus(typename V::F x) {
  const auto tail = log1p_unit<V>(exp<V>(V::sub(V::zero(), V::abs(x))));
  return V::add(V::max(x, V::zero()), tail);
}

// 1 / (1 + e^-x)
template <class V>
SLUICE_INLINE typename V::F sigmoid(typename V::F x) {
  return V::div(V::set1(1.0f), V::add(V::set1(1.0f), exp<V>(V::sub(V::zero(), x))));
}

// x / (1 + e^-x)
template <class V>
SLUICE_INLINE typename V::F silu(typename V::F x) {
  return V::div(x, V::add(V::set1(1.0f), exp<V>(V::sub(V::zero(), x))));
}

// Loops over rows.

// How many lanes the vector at element d of n has.
SLUICE_INLINE int lanes_at(int64_t d, int64_t n) { return n - d < kLanes ? int(n - d) : kLanes; }

// y[i] = x[i], in y's element type; y may be x.
template <class V, class X, class Y>
SLUICE_INLINE void convert(const X* x, Y* y, int64_t n) {
  for (int64_t d = 0; d < n; d += kLanes) V::store_n(y + d, V::load_n(x + d, lanes_at(d, n)), lanes_at(d, n));
}

// Sum of x[i]^2. Four vectors of partial sums hide the latency of fma; what is left of a last block of 64 goes to the first.
template <class V, class X>
SLUICE_INLINE float sum_of_squares(const X* x, int64_t n) {
  typename V::F sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t d = 0;
  for (; d + 4 * kLanes <= n; d += 4 * kLanes)
    for (int j = 0; j < 4; ++j) {
      const auto v = V::load(x + d + j * kLanes);
      sum[j] = V::fma(v, v, sum[j]);
    }
  for (; d < n; d += kLanes) {
    const auto v = V::load_n(x + d, lanes_at(d, n));
    sum[0] = V::fma(v, v, sum[0]);
  }
  return V::reduce_add(V::add(V::add(sum[0], sum[1]), V::add(sum[2], sum[3])));
}

}  // namespace sluice::simd
