// l2norm: y = x / sqrt(sum(x^2) + eps), each row of the last dimension; eps inside the root, added to the sum.
// Tolerance: fp32 outputs rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct L2normArgs {
  Tensor x;  // [R, D] or [T, H, D], f32 or bf16, stride free but in the last dimension
  Tensor y;  // as x, f32 or bf16; may be x itself
  float eps = 1e-6f;
};

template <class F>
void each_tensor(L2normArgs& a, F&& f) {
  f(a.x), f(a.y);
}

Status check_l2norm(const L2normArgs& a);
std::span<const Impl<L2normArgs>> l2norm_impls();
Status l2norm(Context& ctx, const L2normArgs& a);

}  // namespace sluice
