// fused_a_gemm: y[t, n] = sum_k x[t, k] * w[n, k], the joint down-projection of multi-head latent attention (q_a and kv_a in one
// matrix: 7168 -> 2112 of DeepSeek-V3, 6144 -> 2624 of GLM-5) for few tokens, bound by the weights' way from memory.
//
// With w_scale, w is e4m3 in blocks of 128 x 128 (weight_scale_inv of the fp8 checkpoints), and
//
//   y[t, n] = sum_b w_scale[n / 128, b] * (sum over k of block b of x[t, k] * w[n, k])
//
// x stays bf16; each sum over a block and the sum of blocks are fp32. Any number of tokens is served. The order of the sum depends
// on K, w's dtype and the instruction set or GPU only: a token has the same bits alone and among others.
// (TensorRT-LLM's dsv3_fused_a_gemm, also in sglang: bf16, 1 to 16 tokens.)
//
// Tolerance: |y - fp64| <= 1e-5 * sum |terms|, plus the rounding of a bf16 output (rel_rms 4e-3, max_rel 8e-3). On the CPU
// denormals of bf16 operands may be flushed to zero.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct FusedAGemmArgs {
  Tensor x;        // [T, K] bf16, stride free in dimension 0
  Tensor w;        // [N, K] bf16 or f8 e4m3, stride free in dimension 0
  Tensor w_scale;  // [ceil(N / 128), ceil(K / 128)] f32 of an e4m3 w, stride free in dimension 0; else absent
  Tensor y;        // [T, N] bf16 or f32, stride free in dimension 0; must not overlap the others
};

// On a GPU w and w_scale are read while the kernel before this one may still run: that one must not have written them.
template <class F>
void each_tensor(FusedAGemmArgs& args, F&& f) {
  f(args.x), f(args.w), f(args.w_scale), f(args.y);
}

Status check_fused_a_gemm(const FusedAGemmArgs& args);
std::span<const Impl<FusedAGemmArgs>> fused_a_gemm_impls();
Status fused_a_gemm(Context& ctx, const FusedAGemmArgs& args);

}  // namespace sluice
