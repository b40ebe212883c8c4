// rmsnorm, with an optional residual sum in front (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019).
//
//   s = x + residual                     (s = x without a residual), in fp32, not rounded
//   y = s / sqrt(mean(s^2) + eps) * (weight_offset + weight)
//   residual_out = s, rounded to its dtype
//   quantised = y, rounded to its dtype, or to x's where there is no y, then as group_quant does it
//
// Rows are every index but the last: [T, D], or [T, H, D] for the per-head norms of attention, which may be strided views.
// Tolerance: fp32 outputs rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3. Codes are those of group_quant of an
// implementation's own y.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"
#include "ops/group_quant/group_quant.h"

namespace sluice {

struct RmsnormArgs {
  Tensor x;             // [T, D] or [T, H, D], f32 or bf16, stride free but in the last dimension
  Tensor residual;      // optional, as x (dtype may differ)
  Tensor weight;        // [D] f32 or bf16
  Tensor y;             // as x, f32 or bf16; may be x itself; may be absent where there is a quantised output
  Tensor residual_out;  // optional, as x, f32 or bf16; may be x or residual itself
  float eps = 1e-6f;
  float weight_offset = 0;        // 1 for Qwen3-Next and Qwen3.5, 0 elsewhere
  bool norm_rounded_sum = false;  // norm the sum after its rounding to residual_out's dtype (kernels that reread it do)
  bool round_normed = false;      // round s / sqrt(..) to bf16 ahead of the weight, as transformers does in bf16
  QuantisedGroups quantised{};    // optional, rows as x's
};

template <class F>
void each_tensor(RmsnormArgs& a, F&& f) {
  f(a.x), f(a.residual), f(a.weight), f(a.y), f(a.residual_out), f(a.quantised.q), f(a.quantised.scale);
}

Status check_rmsnorm(const RmsnormArgs& a);
std::span<const Impl<RmsnormArgs>> rmsnorm_impls();
Status rmsnorm(Context& ctx, const RmsnormArgs& a);

}  // namespace sluice
