// The body of the vector forms. A row's fp32 sum lies in x, in residual_out or in a thread's scratch row, whichever holds it
// without a copy; every pass after the first finds it in L1.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/group_quant/quantise.h"
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

// What turns a row's sum into y = s * scale * (offset + weight).
template <class V>
struct RmsnormFactors {
  typename V::F scale, offset;
  bool round_normed;

  SLUICE_INLINE RmsnormFactors(const RmsnormArgs& a, const float* s, int64_t n) : round_normed(a.round_normed) {
    const float mean = simd::sum_of_squares<V>(s, n) / float(n);
    scale = V::div(V::set1(1), V::sqrt(V::set1(mean + a.eps))), offset = V::set1(a.weight_offset);
  }
  template <class W>
  SLUICE_INLINE typename V::F y(const float* s, const W* weight, int lanes) const {
    const auto factor = V::add(offset, V::load_n(weight, lanes));
    auto normed = V::mul(V::load_n(s, lanes), scale);
    if (round_normed) normed = rounded<Bf16>(normed);
    return V::mul(normed, factor);
  }
  template <class T>
  static SLUICE_INLINE typename V::F rounded(typename V::F x) {
    T memory[simd::kLanes];
    V::store(memory, x);
    return V::load(memory);
  }
};

template <class V, class W, class Y>
SLUICE_INLINE void rmsnorm_scale(const RmsnormArgs& a, const float* s, const W* weight, Y* y, int64_t n) {
  const RmsnormFactors<V> factors(a, s, n);
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(y + d, factors.y(s + d, weight + d, lanes), lanes);
  }
}

// The same with a quantised output; y may be null.
template <class V, class W, class Y>
SLUICE_INLINE void rmsnorm_quantise(const RmsnormArgs& a, int64_t r, const float* s, const W* weight, Y* y, int64_t n) {
  const RmsnormFactors<V> factors(a, s, n);
  const QuantisedRow row(a.quantised, r);
  const int group = a.quantised.group;
  alignas(64) float v[kMostGroup];
  for (int64_t g = 0; g < n / group; ++g) {
    for (int i = 0; i < group; i += simd::kLanes) {
      const int64_t d = g * group + i;
      const auto normed = factors.template rounded<Y>(factors.y(s + d, weight + d, simd::kLanes));
      V::store(v + i, normed);
      if (y) V::store(y + d, normed);
    }
    quantise_group<V>(row, g, v, group);
  }
}

template <class V>
Status rmsnorm_body(Context& ctx, const RmsnormArgs& a, std::byte* scratch) {
  const Rows x(a.x), y(rounding_of_quantised(a));
  const int64_t n = x.length();
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(n, 1));  // elements worth waking a thread for
  visit_float(a.weight, [&]<class W>(W*) {
    visit_float(rounding_of_quantised(a), [&]<class Y>(Y*) {
      ctx.team->split(x.count(), grain, [&](int64_t begin, int64_t end, int thread) {
        float* row = reinterpret_cast<float*>(scratch) + thread * rmsnorm_scratch_row(n);
        for (int64_t r = begin; r < end; ++r) {
          const float* s = rmsnorm_sum<V>(a, r, row, n);
          Y* to = a.y.present() ? y.row<Y>(r) : nullptr;
          if (a.quantised.q.present()) rmsnorm_quantise<V>(a, r, s, a.weight.as<W>(), to, n);
          else rmsnorm_scale<V>(a, s, a.weight.as<W>(), to, n);
        }
      });
    });
  });
  return {};
}

}  // namespace sluice
