// The body of the vector forms. Blocks of 128 elements are transformed in registers; what is further apart, in an fp32 row.
#pragma once

#include <algorithm>
#include <array>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/hadamard/forms.h"

namespace sluice {

inline constexpr int64_t kHadamardBlock = 128;  // elements: eight vectors

// n^-0.5 of a power of two.
template <class V>
SLUICE_INLINE float hadamard_scale(int64_t n) {
  return 1 / V::sqrt(V::set1(float(n)))[0];
}

// Sums and differences of the lanes kApart apart. The products are exact: no form rounds here but for the sum.
template <class V, int kApart>
SLUICE_INLINE typename V::F hadamard_lanes(typename V::F x) {
  alignas(64) static constexpr auto kSigns = [] {
    std::array<float, simd::kLanes> sign{};
    for (int i = 0; i < simd::kLanes; ++i) sign[size_t(i)] = i & kApart ? -1.0f : 1.0f;
    return sign;
  }();
  return V::fma(x, V::load(kSigns.data()), V::template swap_apart<kApart>(x));
}

template <class V, int kVectors>
SLUICE_INLINE void hadamard_vectors(typename V::F (&x)[kVectors], int64_t n) {
#pragma GCC unroll 8
  for (auto& v : x) {
    if (n > 1) v = hadamard_lanes<V, 1>(v);
    if (n > 2) v = hadamard_lanes<V, 2>(v);
    if (n > 4) v = hadamard_lanes<V, 4>(v);
    if (n > 8) v = hadamard_lanes<V, 8>(v);
  }
#pragma GCC unroll 3
  for (int apart = 1; apart < kVectors; apart *= 2)
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      if (i & apart) continue;
      const auto a = x[i], b = x[i + apart];
      x[i] = V::add(a, b), x[i + apart] = V::sub(a, b);
    }
}

// y = scale * H x of n <= 128 elements, for which there are kVectors; y may be x.
template <class V, int kVectors, class X, class Y>
SLUICE_INLINE void hadamard_block(const X* x, Y* y, int64_t n, float scale) {
  typename V::F v[kVectors];
  for (int i = 0; i < kVectors; ++i) v[i] = V::load_n(x + i * simd::kLanes, simd::lanes_at(i * simd::kLanes, n));
  hadamard_vectors<V>(v, n);
  for (int i = 0; i < kVectors; ++i)
    V::store_n(y + i * simd::kLanes, V::mul(v[i], V::set1(scale)), simd::lanes_at(i * simd::kLanes, n));
}

// Of more than one block; `row` has room for n fp32 elements, and may be x.
template <class V, class X, class Y>
SLUICE_INLINE void hadamard_blocks(const X* x, Y* y, float* row, int64_t n, float scale) {
  for (int64_t d = 0; d < n; d += kHadamardBlock) hadamard_block<V, 8>(x + d, row + d, kHadamardBlock, 1);
  for (int64_t apart = kHadamardBlock; apart < n; apart *= 2) {
    const bool last = 2 * apart == n;
    const auto factor = V::set1(last ? scale : 1);
    for (int64_t first = 0; first < n; first += 2 * apart)
      for (int64_t d = first; d < first + apart; d += simd::kLanes) {
        const auto a = V::load(row + d), b = V::load(row + d + apart);
        const auto sum = V::mul(V::add(a, b), factor), difference = V::mul(V::sub(a, b), factor);
        if (last) V::store(y + d, sum), V::store(y + d + apart, difference);
        else V::store(row + d, sum), V::store(row + d + apart, difference);
      }
  }
}

// y = H x / sqrt(n), n a power of two; y may be x. `row` as above.
template <class V, class X, class Y>
SLUICE_INLINE void hadamard_row(const X* x, Y* y, float* row, int64_t n) {
  const float scale = hadamard_scale<V>(n);
  if (n > kHadamardBlock) hadamard_blocks<V>(x, y, row, n, scale);
  else if (n == 128) hadamard_block<V, 8>(x, y, 128, scale);
  else if (n == 64) hadamard_block<V, 4>(x, y, 64, scale);
  else if (n == 32) hadamard_block<V, 2>(x, y, 32, scale);
  else hadamard_block<V, 1>(x, y, n, scale);
}

template <class V>
Status hadamard_body(Context& ctx, const HadamardArgs& a, std::byte* scratch) {
  const Rows x(a.x), y(a.y);
  const int64_t n = x.length();
  const int64_t grain = std::max<int64_t>(1, 8192 / n);  // elements worth waking a thread for
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      ctx.team->split(x.count(), grain, [&](int64_t begin, int64_t end, int thread) {
        float* row = reinterpret_cast<float*>(scratch) + thread * hadamard_scratch_row(n);
        for (int64_t r = begin; r < end; ++r) hadamard_row<V>(x.row<X>(r), y.row<Y>(r), row, n);
      });
    });
  });
  return {};
}

}  // namespace sluice
