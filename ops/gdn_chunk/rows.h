// Rows between tensors and fp32 scratch.
#pragma once

#include "core/simd.h"
#include "ops/gdn_chunk/view.h"
#include "ops/l2norm/body.h"

namespace sluice::gdn {

using simd::kLanes;

// y = x as fp32, divided by its norm if asked, with the bits of op l2norm.
template <class V, class X>
SLUICE_INLINE void widen_row(const X* x, int64_t n, bool normalise, float eps, float* y) {
  if (normalise) {
    const auto scale = l2norm_scale<V>(x, n, eps);
    for (int64_t d = 0; d < n; d += kLanes) V::store(y + d, V::mul(V::load(x + d), scale));
  } else {
    for (int64_t d = 0; d < n; d += kLanes) V::store(y + d, V::load(x + d));
  }
}

template <class V>
void load_row(const RowView& x, int64_t t, int64_t head, int64_t n, bool normalise, float eps, float* y) {
  const int64_t at = t * x.row_stride + head * x.head_stride;
  if (x.bf16) widen_row<V>(static_cast<const Bf16*>(x.data) + at, n, normalise, eps, y);
  else widen_row<V>(static_cast<const float*>(x.data) + at, n, normalise, eps, y);
}

template <class V>
void store_row(const float* x, int64_t n, const RowView& y, int64_t t, int64_t head) {
  const int64_t at = t * y.row_stride + head * y.head_stride;
  if (y.bf16)
    for (int64_t d = 0; d < n; d += kLanes) V::store(static_cast<Bf16*>(y.data) + at + d, V::load(x + d));
  else
    for (int64_t d = 0; d < n; d += kLanes) V::store(static_cast<float*>(y.data) + at + d, V::load(x + d));
}

template <class V>
void clear_row(int64_t n, const RowView& y, int64_t t, int64_t head) {
  const int64_t at = t * y.row_stride + head * y.head_stride;
  if (y.bf16)
    for (int64_t d = 0; d < n; d += kLanes) V::store(static_cast<Bf16*>(y.data) + at + d, V::zero());
  else
    for (int64_t d = 0; d < n; d += kLanes) V::store(static_cast<float*>(y.data) + at + d, V::zero());
}

}  // namespace sluice::gdn
