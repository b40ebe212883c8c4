// matmul: y[m, n] = sum_k x[m, k] * w[n, k], the layout of a linear layer's weights in a checkpoint, read where it lies.
//
// Accumulation is fp32. x and w may each be f32 or bf16; with both bf16 the bf16 dot product of the CPU is used where there is one.
// The order of the sum over k depends on K, the dtypes and the instruction set only: a row of y has the same bits whether it is
// computed alone or among thousands, on one thread or many. On a GPU it depends on whether rows begin at multiples of 16 bytes too,
// and the form `cublaslt` makes no such promise (README.md).
// Tolerance: fp32 operands rel_rms 2e-6 * sqrt(K / 1024 + 1), max_rel ten times that, against fp64, relative to a typical output
// (sqrt(K) times the operands' rms: one output alone may cancel); bf16 operands are compared after rounding the inputs, so the same
// limit holds; a bf16 y adds its rounding (4e-3, 8e-3). With both operands bf16 denormals may be flushed to zero.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct MatmulArgs {
  Tensor x;  // [M, K] f32 or bf16, stride free in dimension 0
  Tensor w;  // [N, K] f32 or bf16, stride free in dimension 0
  Tensor y;  // [M, N] f32 or bf16, stride free in dimension 0; must not overlap x or w
};

// On a GPU w is read while the kernel before this one may still run: that one must not have written it.
template <class F>
void each_tensor(MatmulArgs& a, F&& f) {
  f(a.x), f(a.w), f(a.y);
}

Status check_matmul(const MatmulArgs& a);
std::span<const Impl<MatmulArgs>> matmul_impls();
Status matmul(Context& ctx, const MatmulArgs& a);

}  // namespace sluice
