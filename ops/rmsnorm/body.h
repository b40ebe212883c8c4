// The body of the vector forms. A row's fp32 sum lies in x, in residual_out or in a thread's scratch row, whichever holds it
// without a copy; every pass after the first finds it in L1.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/rmsnorm/forms.h"

namespace sluice {

// s = x + residual (or x), one row; s may be x or residual.
template <class V>
SLUICE_INLINE void rmsnorm_add(const RmsnormArgs& a, int64_t r, float* s, int64_t n) {
  const Rows x(a.x), residual(a.residual);
  visit_float(a.x, [&]<class X>(X*) {
    if (!a.residual.present()) return simd::convert<V>(x.row<X>(r), s, n);
    visit_float(a.residual, [&]<class R>(R*) {
      const X* px = x.row<X>(r);
      const R* pr = residual.row<R>(r);
      for (int64_t d = 0; d < n; d += simd::kLanes) {
        const int lanes = simd::lanes_at(d, n);
        V::store_n(s + d, V::add(V::load_n(px + d, lanes), V::load_n(pr + d, lanes)), lanes);
      }
    });
  });
}

// The row to norm: s, with residual_out written on the way.
template <class V>
SLUICE_INLINE const float* rmsnorm_sum(const RmsnormArgs& a, int64_t r, float* scratch, int64_t n) {
  if (!a.residual_out.present()) {
    if (!a.residual.present() && a.x.dtype == DType::kF32) return Rows(a.x).row<float>(r);
    rmsnorm_add<V>(a, r, scratch, n);
    return scratch;
  }
  const Rows out(a.residual_out);
  if (a.residual_out.dtype == DType::kF32) {
    rmsnorm_add<V>(a, r, out.row<float>(r), n);
    return out.row<float>(r);
  }
  rmsnorm_add<V>(a, r, scratch, n);
  simd::convert<V>(scratch, out.row<Bf16>(r), n);
  if (a.norm_rounded_sum) simd::convert<V>(out.row<Bf16>(r), scratch, n);
  return scratch;
}

// y = s * scale * (offset + weight)
template <class V, class W, class Y>
SLUICE_INLINE void rmsnorm_scale(const float* s, const W* weight, Y* y, int64_t n, float eps, float weight_offset) {
  const float mean = simd::sum_of_squares<V>(s, n) / float(n);
  const auto scale = V::div(V::set1(1), V::sqrt(V::set1(mean + eps))), offset = V::set1(weight_offset);
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    const auto factor = V::add(offset, V::load_n(weight + d, lanes));
    V::store_n(y + d, V::mul(V::mul(V::load_n(s + d, lanes), scale), factor), lanes);
  }
}

template <class V>
Status rmsnorm_body(Context& ctx, const RmsnormArgs& a, std::byte* scratch) {
  const Rows x(a.x), y(a.y);
  const int64_t n = x.length();
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(n, 1));  // elements worth waking a thread for
  visit_float(a.weight, [&]<class W>(W*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      ctx.team->split(x.count(), grain, [&](int64_t begin, int64_t end, int thread) {
        float* row = reinterpret_cast<float*>(scratch) + thread * rmsnorm_scratch_row(n);
        for (int64_t r = begin; r < end; ++r)
          rmsnorm_scale<V>(rmsnorm_sum<V>(a, r, row, n), a.weight.as<W>(), y.row<Y>(r), n, a.eps, a.weight_offset);
      });
    });
  });
  return {};
}

}  // namespace sluice
