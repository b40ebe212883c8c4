// Linear layers of the same input. Where their weights lie behind one another, as WeightSource::take_together() puts them on a GPU,
// one product serves all.
#pragma once

#include <initializer_list>

#include "models/model.h"
#include "models/weights.h"
#include "ops/matmul/matmul.h"

namespace sluice {

// The rows of x times the weights of each part, of type `dtype`, in the arena; the results of a whole lie beside one another.
// kResourceExhausted where the arena is full.
inline Status project(Context& ctx, const Tensor& x, const Projection& w, DType dtype, std::initializer_list<Tensor*> results) {
  const auto multiply = [&](const Tensor& weight, Tensor& y) -> Status {
    y = ctx.arena->tensor(dtype, {x.dim(0), weight.dim(0)});
    if (!y.present()) return step_does_not_fit(x.dim(0));
    return matmul(ctx, {.x = x, .w = weight, .y = y});
  };
  auto part = w.parts.begin();
  if (!w.whole.present()) {
    for (Tensor* y : results) SLUICE_RETURN_IF_ERROR(multiply(*part++, *y));
    return {};
  }
  Tensor all;
  SLUICE_RETURN_IF_ERROR(multiply(w.whole, all));
  int64_t column = 0;
  for (Tensor* y : results) {
    *y = all.slice(1, column, column + part->dim(0));
    column += (part++)->dim(0);
  }
  return {};
}

}  // namespace sluice
