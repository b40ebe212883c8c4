// The body of the vector forms: sixteen heads at a time down the tokens, so that the heads' parameters stay in registers.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/gating/forms.h"

namespace sluice {

// Elements [d, d + lanes) of row r of a [T, HV] or [HV] tensor of either type; beside two exponentials the branch costs nothing.
template <class V>
SLUICE_INLINE typename V::F gating_load(const Tensor& t, int64_t r, int64_t d, int lanes) {
  const int64_t at = (t.rank == 2 ? r * t.stride[0] : 0) + d;
  return t.dtype == DType::kBF16 ? V::load_n(static_cast<const Bf16*>(t.data) + at, lanes)
                                 : V::load_n(static_cast<const float*>(t.data) + at, lanes);
}

template <class V>
SLUICE_INLINE void gating_tokens(const GatingArgs& a, int64_t d, int lanes, int64_t begin, int64_t end) {
  const auto rate = V::sub(V::zero(), simd::exp<V>(gating_load<V>(a.A_log, 0, d, lanes)));
  const auto bias = gating_load<V>(a.dt_bias, 0, d, lanes);
  const auto top = V::set1(a.allow_neg_eigval ? 2 : 1);
  for (int64_t t = begin; t < end; ++t) {
    const auto step = simd::softplus<V>(V::add(gating_load<V>(a.a, t, d, lanes), bias));
    V::store_n(Rows(a.log_g).row<float>(t) + d, V::mul(rate, step), lanes);
    V::store_n(Rows(a.beta).row<float>(t) + d, V::mul(top, simd::sigmoid<V>(gating_load<V>(a.b, t, d, lanes))), lanes);
  }
}

template <class V>
Status gating_body(Context& ctx, const GatingArgs& a) {
  const int64_t T = a.a.shape[0], HV = a.a.shape[1];
  const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(HV, 1));  // elements worth waking a thread for
  ctx.team->split(T, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t d = 0; d < HV; d += simd::kLanes) gating_tokens<V>(a, d, simd::lanes_at(d, HV), begin, end);
  });
  return {};
}

}  // namespace sluice
