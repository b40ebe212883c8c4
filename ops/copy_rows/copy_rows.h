// copy_rows: rows of one matrix as rows of another, chosen by number. out[to[i]] = x[from[i]], exact.
//
// Gathers where `to` is absent (it counts up from 0), scatters where `from` is. An entry below 0 in either leaves its row out; on a
// GPU, where entries cannot be seen ahead, so does one behind the end. Other rows of out keep their bits.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct CopyRowsArgs {
  Tensor x;     // [R, D] of any type, stride free in dimension 0
  Tensor out;   // [S, D] of the same type, stride free in dimension 0; no row is both read and written
  Tensor from;  // [N] i32, below R; or absent
  Tensor to;    // [N] i32, below S, no two alike but for those below 0; or absent. Both absent: all rows of x
};

template <class F>
void each_tensor(CopyRowsArgs& a, F&& f) {
  f(a.x), f(a.out), f(a.from), f(a.to);
}

// N.
inline int64_t rows_to_copy(const CopyRowsArgs& a) {
  return a.from.present() ? a.from.dim(0) : a.to.present() ? a.to.dim(0) : a.x.dim(0);
}

Status check_copy_rows(const CopyRowsArgs& a);
std::span<const Impl<CopyRowsArgs>> copy_rows_impls();
Status copy_rows(Context& ctx, const CopyRowsArgs& a);

}  // namespace sluice
