// The body of the vector forms: a state at a time.
#pragma once

#include "core/simd.h"
#include "ops/state_dequant/forms.h"

namespace sluice {

template <class V>
Status state_dequant_body(Context& ctx, const StateDequantArgs& a) {
  const int64_t rows = a.q.dim(1), length = a.q.dim(2);
  ctx.team->each(a.q.dim(0), [&](int64_t n, int) {
    const float* scales = a.scale.as<float>() + n * a.scale.stride[0];
    for (int64_t r = 0; r < rows; ++r) {
      const int8_t* q = a.q.as<int8_t>() + n * a.q.stride[0] + r * a.q.stride[1];
      float* x = a.x.as<float>() + n * a.x.stride[0] + r * a.x.stride[1];
      const auto scale = V::set1(scales[r]);
      for (int64_t d = 0; d < length; d += simd::kLanes) V::store(x + d, V::mul(V::load(q + d), scale));
    }
  });
  return {};
}

}  // namespace sluice
