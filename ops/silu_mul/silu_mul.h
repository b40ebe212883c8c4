// silu_mul: y = silu(gate) * up, the middle of a SwiGLU block (Shazeer, "GLU Variants Improve Transformer", 2020).
// Tolerance: fp32 outputs rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct SiluMulArgs {
  Tensor gate;  // [T, I] f32 or bf16, stride free in dimension 0
  Tensor up;    // as gate
  Tensor y;     // [T, I] f32 or bf16; may be gate or up itself
};

template <class F>
void each_tensor(SiluMulArgs& a, F&& f) {
  f(a.gate), f(a.up), f(a.y);
}

Status check_silu_mul(const SiluMulArgs& a);
std::span<const Impl<SiluMulArgs>> silu_mul_impls();
Status silu_mul(Context& ctx, const SiluMulArgs& a);

}  // namespace sluice
