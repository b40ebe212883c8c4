// Linear layers of the same input. Where their weights lie behind one another, as WeightSource::take_together() puts them on a GPU,
// one product serves all.
#pragma once

#include <initializer_list>

#include "core/group.h"
#include "core/memory.h"
#include "models/model.h"
#include "models/weights.h"
#include "ops/copy_rows/copy_rows.h"
#include "ops/matmul/matmul.h"
#include "ops/quant_matmul/quant_matmul.h"

namespace sluice {

inline Status multiply(Context& ctx, const Tensor& x, const Weight& w, const Tensor& y) {
  if (w.quantized()) return quant_matmul(ctx, {.x = x, .w = w.values, .scale = w.scale, .y = y});
  return matmul(ctx, {.x = x, .w = w.values, .y = y});
}

// The rows of x times the weights of each part, of type `dtype`, in the arena; the results of a whole lie beside one another.
// kResourceExhausted where the arena is full.
inline Status project(Context& ctx, const Tensor& x, const Projection& w, DType dtype, std::initializer_list<Tensor*> results) {
  const auto product = [&](const Weight& weight, Tensor& y) -> Status {
    y = ctx.arena->tensor(dtype, {x.dim(0), weight.rows()});
    if (!y.present()) return step_does_not_fit(x.dim(0));
    return multiply(ctx, x, weight, y);
  };
  auto part = w.parts.begin();
  if (!w.whole.present()) {
    for (Tensor* y : results) SLUICE_RETURN_IF_ERROR(product(*part++, *y));
    return {};
  }
  Tensor all;
  SLUICE_RETURN_IF_ERROR(product({.values = w.whole}, all));
  int64_t column = 0;
  for (Tensor* y : results) {
    *y = all.slice(1, column, column + part->rows());
    column += (part++)->rows();
  }
  return {};
}

// The way back: what each rank of a group computed of x, times its columns of the weight, added up.
inline Status project_back(Context& ctx, Group* group, const Tensor& x, const Weight& weight, const Tensor& y) {
  SLUICE_RETURN_IF_ERROR(multiply(ctx, x, weight, y));
  return group ? group->sum(ctx, y) : Status();
}

// whole [R, N * C] f32 from each of N ranks' part [R, C].
inline Status gather_columns(Context& ctx, Group& group, const Tensor& part, const Tensor& whole) {
  const int64_t R = part.dim(0), C = part.dim(1), N = group.size();
  if (R == 0) return {};
  if (R == 1) return group.gather(ctx, part, whole);
  const Tensor parts = ctx.arena->tensor(DType::kF32, {N * R, C});
  if (!parts.present()) return step_does_not_fit(R);
  SLUICE_RETURN_IF_ERROR(group.gather(ctx, part, parts));
  std::vector<int32_t> rows;  // of parts, in the order of whole's
  for (int64_t r = 0; r < R; ++r)
    for (int64_t n = 0; n < N; ++n) rows.push_back(int32_t(n * R + r));
  Tensor from;
  SLUICE_RETURN_IF_ERROR(bring(ctx, {{&from, Tensor::of(rows.data(), {N * R})}}));
  return copy_rows(ctx, {.x = parts, .out = whole.reshape({R * N, C}), .from = from});
}

}  // namespace sluice
