// What the GPU kernel of few_rows.cuh can serve.
#pragma once

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

// Whether copies of 16 bytes, and stages of 128 of a row of w, fit these matrices. The number of rows does not matter, or a row
// alone could get another form than in a batch.
inline Can few_rows_can(const Tensor& x, const Tensor& w) {
  const auto begins_at_16 = [](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.stride[0] * int64_t(dtype_size(t.dtype)) % 16 == 0;
  };
  if (x.dtype != DType::kBF16) return Can::no("x is not BF16");
  if (w.shape[1] * int64_t(dtype_size(w.dtype)) % 128 != 0)
    return Can::no("a row of w is no multiple of 128 bytes (K of 64 for BF16, 128 for F8_E4M3, 32 for F32)");
  return begins_at_16(x) && begins_at_16(w) ? Can{} : Can::no("a row of x or w does not begin at a multiple of 16 bytes");
}

}  // namespace sluice
