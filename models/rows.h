// Rows of a matrix chosen by number, for one call.
#pragma once

#include "core/memory.h"
#include "ops/copy_rows/copy_rows.h"

namespace sluice {

// Rows `rows` of x [R, D], in this order, in the arena; x itself where that is what they are. kResourceExhausted where the arena is
// full.
inline Result<Tensor> gather_rows(Context& ctx, const Tensor& x, const std::vector<int32_t>& rows) {
  const int64_t count = int64_t(rows.size());
  bool as_it_is = count == x.dim(0);
  for (int64_t i = 0; as_it_is && i < count; ++i) as_it_is = rows[size_t(i)] == i;
  if (as_it_is) return x;
  const Tensor out = ctx.arena->tensor(x.dtype, {count, x.dim(1)});
  if (!out.present())
    return Status(Code::kResourceExhausted,
                  std::to_string(count) + " rows of " + std::to_string(x.dim(1)) + " do not fit in the workspace",
                  "use a smaller --prefill-chunk");
  Tensor from;
  SLUICE_RETURN_IF_ERROR(bring(ctx, {{&from, Tensor::of(rows.data(), {count})}}));
  SLUICE_RETURN_IF_ERROR(copy_rows(ctx, {.x = x, .out = out, .from = from}));
  return out;
}

}  // namespace sluice
