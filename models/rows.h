// Rows of matrices in the CPU's memory, copied from one to another.
#pragma once

#include <cstring>

#include "core/buffer.h"
#include "core/tensor.h"

namespace sluice {

inline void copy_row(const Tensor& from, int64_t i, const Tensor& to, int64_t j) {
  std::memcpy(to[j].data, from[i].data, from[i].bytes());
}

// `count` rows of x [R, D] in the arena: row row_of(i) as the i-th. x itself where that is what it is; absent when the arena is
// used up.
template <class F>
Tensor gather_rows(Arena& arena, const Tensor& x, int64_t count, F&& row_of) {
  bool as_it_is = count == x.dim(0);
  for (int64_t i = 0; as_it_is && i < count; ++i) as_it_is = row_of(i) == i;
  if (as_it_is) return x;
  const Tensor out = arena.tensor(x.dtype, {count, x.dim(1)});
  for (int64_t i = 0; out.present() && i < count; ++i) copy_row(x, row_of(i), out, i);
  return out;
}

}  // namespace sluice
