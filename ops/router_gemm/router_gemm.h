// router_gemm: logits[t, e] = sum_k x[t, k] * w[e, k], the scores of a mixture's experts.
//
// A matrix product of few tokens by few hundred experts, of which the launch and the way of the weights from memory are all the
// cost on a GPU; any number of tokens is served. (DeepSeek-V3's dsv3_router_gemm in TensorRT-LLM and sglang's sgl-kernel: 1 to 16
// tokens, K = 7168, 256 or 384 experts.) Accumulation is fp32. The order of the sum depends on K, the dtypes and the instruction
// set or GPU (there also on whether rows begin at multiples of 16 bytes) only: a token has the same logits alone and among others.
//
// Tolerance: |logit - fp64| <= 1e-5 * sum_k |x[t, k] * w[e, k]|, plus the rounding of a bf16 output. With bf16 operands denormals
// may be flushed to zero on the CPU.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct RouterGemmArgs {
  Tensor x;       // [T, K] bf16 or f32, stride free in dimension 0
  Tensor w;       // [E, K] bf16 or f32, stride free in dimension 0
  Tensor logits;  // [T, E] f32 or bf16, stride free in dimension 0; must not overlap x or w
};

// On a GPU w is read while the kernel before this one may still run: that one must not have written it.
template <class F>
void each_tensor(RouterGemmArgs& args, F&& f) {
  f(args.x), f(args.w), f(args.logits);
}

Status check_router_gemm(const RouterGemmArgs& args);
std::span<const Impl<RouterGemmArgs>> router_gemm_impls();
Status router_gemm(Context& ctx, const RouterGemmArgs& args);

}  // namespace sluice
