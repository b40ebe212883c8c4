// Sixteen fp32 lanes, the same interface for every instruction set, so that an operator's body is written once.
//
// A body is a template over an instruction set type `V` (simd::Plain in core/simd_plain.h, simd::Avx2 in core/simd_avx2.h,
// simd::Avx512 in core/simd_avx512.h); each cpu*.cc file instantiates it for one of them. Rules for bodies: a multiply-add that may
// be fused is written fma() (never a * b + c in one expression is relied on to fuse: the build says -ffp-contract=off), a tail is
// handled with load_n / store_n so that it takes the same arithmetic, and the size of a tile of sums comes from V::kRegisters.
// Results are the same bits for every call of one instruction set; Plain rounds twice in fma() and so differs from the others.
#pragma once

#include <cstdint>

#include "core/simd_plain.h"

namespace sluice::simd {

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
