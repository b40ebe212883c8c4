// The body of the vector forms. Rows are cut into blocks, so that one long row is shared by the threads as well.
#pragma once

#include <algorithm>

#include "base/checked.h"
#include "core/rows.h"
#include "core/simd.h"
#include "ops/silu_mul/forms.h"

namespace sluice {

template <class V, class X, class Y>
SLUICE_INLINE void silu_mul_run(const X* gate, const X* up, Y* y, int64_t n) {
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(y + d, V::mul(simd::silu<V>(V::load_n(gate + d, lanes)), V::load_n(up + d, lanes)), lanes);
  }
}

template <class V>
Status silu_mul_body(Context& ctx, const SiluMulArgs& a) {
  constexpr int64_t kBlock = 1024, kGrain = 8;  // elements a block; blocks worth waking a thread for
  const Rows gate(a.gate), up(a.up), y(a.y);
  const int64_t n = y.length(), blocks = ceil_div(n, kBlock);
  visit_float(a.gate, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      ctx.team->split(y.count() * blocks, kGrain, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t r = i / blocks, d = i % blocks * kBlock;
          silu_mul_run<V>(gate.row<X>(r) + d, up.row<X>(r) + d, y.row<Y>(r) + d, std::min(kBlock, n - d));
        }
      });
    });
  });
  return {};
}

}  // namespace sluice
