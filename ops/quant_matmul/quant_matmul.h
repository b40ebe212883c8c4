// quant_matmul: y[m, n] = sum_k x[m, k] * w(n, k) with quantised weights (core/quantised.h), read where they lie in a checkpoint.
//
// int8 and int4: x is quantised too, row by row in groups of 32 elements, so that the sums are integers. In fp32, each operation
// rounded once:
//
//   s(m, g)    = max |x| / 127                    over the group's elements; NaN where one of them is not finite
//   c(m, k)    = x / s(m, g)                      to the nearest, in the middle to the even one, at most 127; 0 where s is 0
//   i(m, n, g) = sum of c(m, k) * code(n, k)      exact
//   p(m, n, j) = sum of i(m, n, g) * s(m, g)      over the groups of 32 in the weights' group j, g ascending
//   y(m, n)    = sum of p(m, n, j) * scale(n, j)  j ascending
//
// So one element that is not finite makes its whole row of y NaN.
//
// fp8: x is rounded to bf16, products are exact, and
//
//   y(m, n)    = sum of p(m, n, j) * scale(n / 128, j)  with p the sum over 128 elements of k in fp32, j ascending
//
// An infinity or NaN reaches the outputs of its row. Denormals of x may be flushed to zero.
//
// The order of a sum depends on K, the dtypes, the scales' shape and the instruction set only: a row of y has the same bits whether
// it is computed alone or among thousands, on one thread or many, and whatever rows of w stand beside its own. (int8 and int4: what
// is not exact is a multiply-add for each group. Forms differ by whether it rounds once or twice.) Tolerance: rel_rms 2e-6 * sqrt(K
// / 1024 + 1), max_rel ten times that, against the formula in fp64 with the same codes, relative to a typical output as in
// ops/matmul; a bf16 y adds its rounding (4e-3, 8e-3).
#pragma once

#include <span>

#include "core/impl.h"
#include "core/quantised.h"
#include "core/tensor.h"

namespace sluice {

struct QuantMatmulArgs {
  Tensor x;      // [M, K] f32 or bf16, stride free in dimension 0
  Tensor w;      // codes of [N, K], stride free in dimension 0; of fp8 a slice begins at a multiple of 128 rows
  Tensor scale;  // of w, stride free in dimension 0
  Tensor y;      // [M, N] f32 or bf16, stride free in dimension 0; must not overlap the others
};

template <class F>
void each_tensor(QuantMatmulArgs& a, F&& f) {
  f(a.x), f(a.w), f(a.scale), f(a.y);
}

Status check_quant_matmul(const QuantMatmulArgs& a);
std::span<const Impl<QuantMatmulArgs>> quant_matmul_impls();
Status quant_matmul(Context& ctx, const QuantMatmulArgs& a);

}  // namespace sluice
