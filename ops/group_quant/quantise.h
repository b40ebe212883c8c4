// A group in eight bits, for the vector bodies of operators that end with quantisation.
#pragma once

#include <cmath>

#include "core/simd.h"
#include "ops/group_quant/group_quant.h"
#include "ops/group_quant/scale.h"

namespace sluice {

inline constexpr int kMostGroup = 128;  // elements

// Where a row's codes and scales go.
class QuantisedRow {
 public:
  SLUICE_INLINE QuantisedRow(const QuantisedGroups& out, int64_t r) : out_(out) {
    const bool three = out.q.rank == 3;
    const int64_t outer = three ? r / out.q.shape[1] : 0, inner = three ? r % out.q.shape[1] : r;
    const int d = out.q.rank - 2;  // the dimension of `inner`
    code_ = outer * (three ? out.q.stride[0] : 0) + inner * out.q.stride[d];
    scale_ = outer * (three ? out.scale.stride[0] : 0) + inner * out.scale.stride[d];
    step_ = out.scale.stride[d + 1];
  }
  SLUICE_INLINE bool int8() const { return out_.q.dtype == DType::kI8; }

  // The scale of a group whose largest size is `most`. Groups come in order.
  SLUICE_INLINE float put_scale(int64_t g, float most) const {
    float scale = (most < out_.eps ? out_.eps : most) / (int8() ? kMostInt8 : kMostE4M3);
    if (out_.ue8m0) scale = power_of_two_from(scale);
    if (out_.scale.dtype == DType::kF32) {
      static_cast<float*>(out_.scale.data)[scale_ + g * step_] = scale;
      return scale;
    }
    uint32_t& word = static_cast<uint32_t*>(out_.scale.data)[scale_ + g / kGroupsOfWord * step_];
    const uint32_t before = g % kGroupsOfWord == 0 ? 0 : word;
    word = before | ue8m0_of(scale) << g % kGroupsOfWord * 8;
    return scale;
  }
  template <class Q>
  SLUICE_INLINE Q* codes(int64_t g) const {
    return static_cast<Q*>(out_.q.data) + code_ + g * out_.group;
  }

 private:
  const QuantisedGroups& out_;
  int64_t code_, scale_, step_;  // the row's first elements, and from one group's scale to the next
};

// max |v|, NaN if one is.
template <class V>
SLUICE_INLINE float largest_of(const float* v, int n) {
  auto most = V::zero(), poison = V::zero();  // maxima pass NaN over; products with 0 are NaN for it, and for infinities
  for (int i = 0; i < n; i += simd::kLanes) {
    const auto x = V::load(v + i);
    most = V::max(V::abs(x), most), poison = V::fma(x, V::zero(), poison);
  }
  if (V::reduce_add(poison) == 0) return V::reduce_max(most);
  for (int i = 0; i < n; ++i)
    if (v[i] != v[i]) return v[i];
  return V::reduce_max(most);
}

template <class V, class Q>
SLUICE_INLINE void store_codes(const float* v, float scale, Q* q, int n) {
  for (int i = 0; i < n; i += simd::kLanes) V::store(q + i, V::div(V::load(v + i), V::set1(scale)));
}

// Group g of a row, from its n elements.
template <class V>
SLUICE_INLINE void quantise_group(const QuantisedRow& row, int64_t g, const float* v, int n) {
  const float scale = row.put_scale(g, largest_of<V>(v, n));
  if (row.int8()) store_codes<V>(v, scale, row.template codes<int8_t>(g), n);
  else store_codes<V>(v, scale, row.template codes<F8E4M3>(g), n);
}

}  // namespace sluice
