// The body of the vector forms: a row is widened once, then every group is fitted in L1. Sums are kept in sixteen lanes and nothing is
// fused, so that every form chooses the same candidates.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd.h"
#include "ops/weight_quant/candidates.h"
#include "ops/weight_quant/forms.h"

namespace sluice {

template <class V>
class GroupFit {
 public:
  GroupFit(const float* w, int64_t n, const CodeRange& range) : w_(w), n_(n), range_(range) {
    auto most = V::zero(), none = V::zero();
    for (int64_t i = 0; i < n; i += simd::kLanes) {
      const auto x = V::load(w + i);
      most = V::max(most, V::abs(x));
      none = V::fma(x, V::zero(), none);  // 0, or NaN where something is not finite
    }
    most_ = V::reduce_max(most) + V::reduce_add(none);
  }

  // The scale that is kept, as S has it.
  template <class S>
  float best() const {
    if (std::isnan(most_)) return most_;
    float kept = 0, least = INFINITY;
    const auto consider = [&](float wanted) {
      const float scale = usable(float(S(wanted)));
      const Sums sums = sums_of(scale);
      if (sums.error < least) kept = scale, least = sums.error;
      return sums;
    };
    for (const float sign : {1.0f, -1.0f})
      for (const float largest : range_.largest) {
        if (sign < 0 && !range_.both_signs) continue;
        const Sums sums = consider(sign * most_ / largest);
        if (sums.qq > 0) consider(sums.wq / sums.qq);
      }
    return kept;
  }

  void codes(float scale, int8_t* to) const {
    const auto by = V::set1(inverse(scale));
    for (int64_t i = 0; i < n_; i += simd::kLanes) V::store(to + i, code(V::load(w_ + i), by));
  }

 private:
  struct Sums {
    float error, wq, qq;
  };

  static float usable(float scale) { return std::abs(scale) < kLeastScale ? 0.0f : scale; }
  static float inverse(float scale) { return scale == 0 || !std::isfinite(scale) ? 0.0f : 1.0f / scale; }

  typename V::F code(typename V::F w, typename V::F by) const {
    return V::min(V::set1(range_.most), V::max(V::set1(range_.least), V::round(V::mul(w, by))));
  }

  Sums sums_of(float scale) const {
    const auto by = V::set1(inverse(scale)), of = V::set1(scale);
    auto error = V::zero(), wq = V::zero(), qq = V::zero();
    for (int64_t i = 0; i < n_; i += simd::kLanes) {
      const auto w = V::load(w_ + i), q = code(w, by), off = V::sub(w, V::mul(q, of));
      error = V::add(error, V::mul(off, off));
      wq = V::add(wq, V::mul(w, q));
      qq = V::add(qq, V::mul(q, q));
    }
    return {V::reduce_add(error), V::reduce_add(wq), V::reduce_add(qq)};
  }

  const float* w_;
  int64_t n_;
  const CodeRange& range_;
  float most_;
};

// A row's codes as they are stored. `codes` has those of a whole number of bytes.
inline void store_codes(const int8_t* codes, int64_t n, const Tensor& to, int64_t row, int64_t k) {
  uint8_t* at = const_cast<uint8_t*>(row_of_codes(to, row));
  if (to.dtype == DType::kI8) std::memcpy(at + k, codes, size_t(n));
  else
    for (int64_t i = 0; i < n / 2; ++i) at[k / 2 + i] = uint8_t((codes[2 * i] + kInt4Offset) | (codes[2 * i + 1] + kInt4Offset) << 4);
}

// Of one thread: a row widened, and its codes.
inline size_t weight_quant_scratch(const WeightQuantArgs& a) {
  return size_t(round_up(a.w.shape[1] * int64_t(sizeof(float) + sizeof(int8_t)), kCacheLine));
}

template <class V>
Status weight_quant_body(Context& ctx, const WeightQuantArgs& a, std::byte* scratch) {
  const int64_t k = a.w.shape[1], group = scale_group(a.codes, a.scale);
  const CodeRange range = code_range(code_type(a.codes));
  const Rows rows(a.w), scales(a.scale);
  visit_float(a.w, [&]<class W>(W*) {
    visit_scale(a.scale, [&]<class S>(S*) {
      ctx.team->split(rows.count(), 1, [&](int64_t begin, int64_t end, int thread) {
        auto* wide = reinterpret_cast<float*>(scratch + thread * weight_quant_scratch(a));
        auto* codes = reinterpret_cast<int8_t*>(wide + k);
        for (int64_t n = begin; n < end; ++n) {
          simd::convert<V>(rows.row<W>(n), wide, k);
          for (int64_t j = 0; j < a.scale.shape[1]; ++j) {
            const GroupFit<V> fit(wide + j * group, group, range);
            const float scale = fit.template best<S>();
            fit.codes(scale, codes);
            store_codes(codes, group, a.codes, n, j * group);
            scales.row<S>(n)[j] = S(scale);
          }
        }
      });
    });
  });
  return {};
}

}  // namespace sluice
