// The body of the vector forms: the gate of a row into scratch, then the norm over the row, both in L1.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/gated_rmsnorm/forms.h"

namespace sluice {

template <class V, class Z>
SLUICE_INLINE void gated_rmsnorm_gate(const Z* z, float* gate, int64_t n, Gate kind) {
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    const auto v = V::load_n(z + d, lanes);
    V::store_n(gate + d, kind == Gate::kSilu ? simd::silu<V>(v) : simd::sigmoid<V>(v), lanes);
  }
}

// The row to norm, in fp32: x, or x * gate.
template <class V, class X>
SLUICE_INLINE void gated_rmsnorm_row(const X* x, const float* gate, bool gated, float* s, int64_t n) {
  if (!gated) return simd::convert<V>(x, s, n);
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(s + d, V::mul(V::load_n(x + d, lanes), V::load_n(gate + d, lanes)), lanes);
  }
}

// y = s * scale * weight, times the gate if it comes after the norm.
template <class V, class W, class Y>
SLUICE_INLINE void gated_rmsnorm_scale(const float* s, const W* weight, const float* gate, bool gated, Y* y, int64_t n, float eps) {
  const float mean = simd::sum_of_squares<V>(s, n) / float(n);
  const auto scale = V::div(V::set1(1), V::sqrt(V::set1(mean + eps)));
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    const auto v = V::mul(V::mul(V::load_n(s + d, lanes), scale), V::load_n(weight + d, lanes));
    V::store_n(y + d, gated ? V::mul(v, V::load_n(gate + d, lanes)) : v, lanes);
  }
}

template <class V>
Status gated_rmsnorm_body(Context& ctx, const GatedRmsnormArgs& a, std::byte* scratch) {
  const Rows x(a.x), z(a.z), y(a.y);
  const int64_t n = x.length(), row = gated_rmsnorm_scratch_row(n);
  const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(n, 1));  // elements worth waking a thread for
  ctx.team->split(x.count(), grain, [&](int64_t begin, int64_t end, int thread) {
    float* s = reinterpret_cast<float*>(scratch) + thread * 2 * row;
    float* gate = s + row;
    for (int64_t r = begin; r < end; ++r) {
      visit_float(a.z, [&]<class Z>(Z*) { gated_rmsnorm_gate<V>(z.row<Z>(r), gate, n, a.gate); });
      visit_float(a.x, [&]<class X>(X*) { gated_rmsnorm_row<V>(x.row<X>(r), gate, !a.norm_before_gate, s, n); });
      visit_float(a.weight, [&]<class W>(W*) {
        visit_float(a.y, [&]<class Y>(Y*) {
          gated_rmsnorm_scale<V>(s, a.weight.as<W>(), gate, a.norm_before_gate, y.row<Y>(r), n, a.eps);
        });
      });
    }
  });
  return {};
}

}  // namespace sluice
