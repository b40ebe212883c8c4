// The body of the vector forms: sixteen groups side by side, one a lane, so that no sum crosses lanes. Nothing is fused: every form
// chooses the same candidates.
#pragma once

#include <algorithm>
#include <limits>

#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd.h"
#include "ops/weight_quant/candidates.h"
#include "ops/weight_quant/forms.h"

namespace sluice {

// Of sixteen groups of `length` weights, w[i * 16 + lane].
template <class V>
class GroupFit {
 public:
  using F = typename V::F;
  static constexpr int kLanes = simd::kLanes;

  GroupFit(const float* w, int64_t length, const CodeRange& range) : w_(w), length_(length), range_(range) {}

  // The scales that are kept, as S has them.
  template <class S>
  F best() const {
    const F most = largest();
    std::fill_n(kept_, kLanes, std::numeric_limits<float>::quiet_NaN());
    std::fill_n(least_, kLanes, std::numeric_limits<float>::infinity());
    for (const float sign : {1.0f, -1.0f})
      for (const float largest : range_.largest) {
        if (sign < 0 && !range_.both_signs) continue;
        const Sums sums = consider<S>(V::div(most, V::set1(sign * largest)));
        consider<S>(V::div(sums.wq, sums.qq));  // where all codes are 0 it is NaN, which is not kept
      }
    return V::load(kept_);
  }

  F code(int64_t i, F by) const {
    const F q = V::round(V::mul(V::load(w_ + i * kLanes), by));
    return V::min(V::set1(range_.most), V::max(V::set1(range_.least), q));
  }

  // What a weight is multiplied by for its code. A scale of 0 stands for weights so small that all their codes are 0 anyway.
  static F inverse(F scale) {
    float lanes[kLanes];
    V::store(lanes, scale);
    for (float& s : lanes) s = s == 0 ? 1.0f : s;
    return V::div(V::set1(1.0f), V::load(lanes));
  }

 private:
  struct Sums {
    F wq, qq;
  };

  F largest() const {
    F most = V::zero(), none = V::zero();
    for (int64_t i = 0; i < length_; ++i) {
      const F w = V::load(w_ + i * kLanes);
      most = V::max(most, V::abs(w));
      none = V::add(none, V::mul(w, V::zero()));  // 0, or NaN where something is not finite
    }
    return V::add(most, none);
  }

  // Keeps `wanted`, once it is rounded, where its error is less than that of any before.
  template <class S>
  Sums consider(F wanted) const {
    S stored[kLanes];
    float scale[kLanes], errors[kLanes];
    V::store(stored, wanted);
    V::store(scale, V::load(stored));
    for (float& s : scale) s = s > -kLeastScale && s < kLeastScale ? 0.0f : s;
    const F of = V::load(scale), by = inverse(of);
    F error = V::zero(), wq = V::zero(), qq = V::zero();
    for (int64_t i = 0; i < length_; ++i) {
      const F w = V::load(w_ + i * kLanes), q = code(i, by), off = V::sub(w, V::mul(q, of));
      error = V::add(error, V::mul(off, off));
      wq = V::add(wq, V::mul(w, q));
      qq = V::add(qq, V::mul(q, q));
    }
    V::store(errors, error);
    for (int i = 0; i < kLanes; ++i) {
      const bool better = errors[i] < least_[i];
      kept_[i] = better ? scale[i] : kept_[i];
      least_[i] = better ? errors[i] : least_[i];
    }
    return {wq, qq};
  }

  const float* w_;
  int64_t length_;
  const CodeRange& range_;
  mutable float kept_[kLanes], least_[kLanes];
};

// Of one thread: sixteen groups side by side.
inline size_t weight_quant_scratch(const WeightQuantArgs& a) {
  return size_t(scale_group(a.codes, a.scale)) * simd::kLanes * sizeof(float);
}

// Sixteen groups, counted through all rows; beyond the last one it stands for itself again.
template <class V, class W, class S>
class SixteenGroups {
 public:
  SixteenGroups(const WeightQuantArgs& a, int64_t first, float* scratch)
      : a_(a), length_(scale_group(a.codes, a.scale)), of_row_(a.scale.shape[1]), side_by_side_(scratch) {
    const int64_t last = a.scale.shape[0] * of_row_ - 1;
    for (int i = 0; i < simd::kLanes; ++i) group_[i] = std::min(first + i, last);
  }

  void quantise(const CodeRange& range) const {
    read();
    const GroupFit<V> fit(side_by_side_, length_, range);
    const typename V::F scale = fit.template best<S>(), by = fit.inverse(scale);
    S scales[simd::kLanes];
    V::store(scales, scale);
    for (int i = 0; i < simd::kLanes; ++i) a_.scale.as<S>()[row(i) * a_.scale.stride[0] + group_[i] % of_row_] = scales[i];
    for (int64_t k = 0; k < length_; k += simd::kLanes) {
      typename V::F r[simd::kLanes];
      for (int i = 0; i < simd::kLanes; ++i) r[i] = fit.code(k + i, by);
      V::transpose(r);
      for (int i = 0; i < simd::kLanes; ++i) store_codes(i, k, r[i]);
    }
  }

 private:
  int64_t row(int i) const { return group_[i] / of_row_; }
  int64_t k_of(int i) const { return group_[i] % of_row_ * length_; }

  void read() const {
    for (int64_t k = 0; k < length_; k += simd::kLanes) {
      typename V::F r[simd::kLanes];
      for (int i = 0; i < simd::kLanes; ++i) r[i] = V::load(a_.w.as<W>() + row(i) * a_.w.stride[0] + k_of(i) + k);
      V::transpose(r);
      for (int i = 0; i < simd::kLanes; ++i) V::store(side_by_side_ + (k + i) * simd::kLanes, r[i]);
    }
  }

  // Sixteen codes of group i, those from k on.
  void store_codes(int i, int64_t k, typename V::F codes) const {
    int8_t q[simd::kLanes];
    V::store(q, codes);  // 0 for a NaN
    uint8_t* to = const_cast<uint8_t*>(row_of_codes(a_.codes, row(i)));
    if (a_.codes.dtype == DType::kI8) std::memcpy(to + k_of(i) + k, q, sizeof q);
    else
      for (int j = 0; j < simd::kLanes / 2; ++j)
        to[(k_of(i) + k) / 2 + j] = uint8_t((q[2 * j] + kInt4Offset) | (q[2 * j + 1] + kInt4Offset) << 4);
  }

  const WeightQuantArgs& a_;
  int64_t length_, of_row_;
  float* side_by_side_;
  int64_t group_[simd::kLanes];
};

template <class V>
Status weight_quant_body(Context& ctx, const WeightQuantArgs& a, std::byte* scratch) {
  const CodeRange range = code_range(code_type(a.codes));
  const int64_t groups = a.scale.shape[0] * a.scale.shape[1];
  visit_float(a.w, [&]<class W>(W*) {
    visit_scale(a.scale, [&]<class S>(S*) {
      ctx.team->split(ceil_div(groups, simd::kLanes), 1, [&](int64_t begin, int64_t end, int thread) {
        auto* mine = reinterpret_cast<float*>(scratch + thread * weight_quant_scratch(a));
        for (int64_t i = begin; i < end; ++i) SixteenGroups<V, W, S>(a, i * simd::kLanes, mine).quantise(range);
      });
    });
  });
  return {};
}

}  // namespace sluice
