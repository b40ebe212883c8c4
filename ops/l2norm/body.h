// The body of the vector forms: one pass for the sum, one to scale.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/l2norm/forms.h"

namespace sluice {

// 1 / sqrt(sum x^2 + eps). Lane l sums x[l], x[l + 16], ...; then the fixed tree of reduce_add.
template <class V, class X>
SLUICE_INLINE typename V::F l2norm_scale(const X* x, int64_t n, float eps) {
  auto sum = V::zero();
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const auto v = V::load_n(x + d, int(std::min<int64_t>(simd::kLanes, n - d)));
    sum = V::fma(v, v, sum);
  }
  return V::div(V::set1(1), V::sqrt(V::set1(V::reduce_add(sum) + eps)));
}

template <class V>
Status l2norm_body(Context& ctx, const L2normArgs& a) {
  const Rows x(a.x), y(a.y);
  const int64_t n = x.length();
  const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1));  // elements worth waking a thread for
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      ctx.team->split(x.count(), grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          const X* in = x.row<X>(r);
          Y* out = y.row<Y>(r);
          const auto scale = l2norm_scale<V>(in, n, a.eps);
          for (int64_t d = 0; d < n; d += simd::kLanes) {
            const int lanes = int(std::min<int64_t>(simd::kLanes, n - d));
            V::store_n(out + d, V::mul(V::load_n(in + d, lanes), scale), lanes);
          }
        }
      });
    });
  });
  return {};
}

}  // namespace sluice
