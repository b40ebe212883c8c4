// The body of the vector forms: a state at a time, each row read from memory once.
#pragma once

#include <cmath>

#include "core/simd.h"
#include "ops/group_quant/quantise.h"
#include "ops/state_quant/forms.h"
#include "ops/state_quant/scale.h"

namespace sluice {

// Sums over a state. Rows come in scales of very different size, and are summed in theirs.
struct StateError {
  double errors = 0, squares = 0;

  template <class V>
  SLUICE_INLINE void add_row(typename V::F row_errors, typename V::F row_squares, double scale) {
    errors += scale * scale * double(V::reduce_add(row_errors)), squares += scale * scale * double(V::reduce_add(row_squares));
  }
  SLUICE_INLINE float relative() const { return squares == 0 ? 0 : float(std::sqrt(errors / squares)); }
};

template <class V>
SLUICE_INLINE float state_quant_row(const float* x, int8_t* q, int64_t length, StateError& error) {
  const float scale = scale_of_row(largest_of<V>(x, int(length)));
  auto errors = V::zero(), squares = V::zero();
  for (int64_t d = 0; d < length; d += simd::kLanes) {
    const auto v = V::div(V::load(x + d), V::set1(scale)), e = V::sub(v, V::round(v));
    V::store(q + d, v);
    errors = V::fma(e, e, errors), squares = V::fma(v, v, squares);
  }
  error.add_row<V>(errors, squares, scale);
  return scale;
}

template <class V>
Status state_quant_body(Context& ctx, const StateQuantArgs& a) {
  const int64_t rows = a.x.dim(1), length = a.x.dim(2);
  ctx.team->each(a.x.dim(0), [&](int64_t n, int) {
    StateError error;
    const float* x = a.x.as<float>() + n * a.x.stride[0];
    int8_t* q = a.q.as<int8_t>() + n * a.q.stride[0];
    float* scale = a.scale.as<float>() + n * a.scale.stride[0];
    for (int64_t r = 0; r < rows; ++r) scale[r] = state_quant_row<V>(x + r * a.x.stride[1], q + r * a.q.stride[1], length, error);
    a.error.as<float>()[n] = error.relative();
  });
  return {};
}

}  // namespace sluice
