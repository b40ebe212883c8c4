// gated_rmsnorm: the output norm of the gated delta layers.
//
//   norm_before_gate:  y = x / sqrt(mean(x^2) + eps) * weight * gate(z)
//   otherwise:         y = rmsnorm(x * gate(z)) * weight
//   gate = silu (gated delta net) or sigmoid (Kimi delta attention). The weight is used as stored, without 1 +.
//
// Tolerance: fp32 outputs rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

enum class Gate : unsigned char { kSilu, kSigmoid };

struct GatedRmsnormArgs {
  Tensor x;       // [R, D] or [T, H, D], f32 or bf16, stride free but in the last dimension
  Tensor z;       // as x (dtype may differ)
  Tensor weight;  // [D] f32 or bf16
  Tensor y;       // as x, f32 or bf16; may be x itself
  float eps = 1e-6f;
  Gate gate = Gate::kSilu;
  bool norm_before_gate = true;
};

template <class F>
void each_tensor(GatedRmsnormArgs& a, F&& f) {
  f(a.x), f(a.z), f(a.weight), f(a.y);
}

Status check_gated_rmsnorm(const GatedRmsnormArgs& a);
std::span<const Impl<GatedRmsnormArgs>> gated_rmsnorm_impls();
Status gated_rmsnorm(Context& ctx, const GatedRmsnormArgs& a);

}  // namespace sluice
