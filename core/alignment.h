// Whether accesses of several elements are possible.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace sluice {

// A tensor's start and every step of all dimensions but the last are multiples of `bytes`. Steps that nobody takes do not count. An
// absent tensor is aligned.
inline bool rows_aligned(const Tensor& t, int64_t bytes) {
  const int64_t size = int64_t(dtype_size(t.dtype));
  bool yes = reinterpret_cast<uintptr_t>(t.data) % size_t(bytes) == 0;
  for (int d = 0; d + 1 < t.rank; ++d) yes = yes && (t.shape[d] <= 1 || t.stride[d] * size % bytes == 0);
  return yes;
}

}  // namespace sluice
