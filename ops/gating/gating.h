// gating: the decay and write strength of the gated delta rule (Yang et al., "Gated Delta Networks", 2024).
//
//   log_g = -exp(A_log) * softplus(a + dt_bias)     natural logarithm of the decay, <= 0
//   beta  = sigmoid(b), doubled with allow_neg_eigval
//
// Tolerance: fp32 rel_rms 2e-6, max_rel 2e-5, and log_g element by element 1e-5 |log_g| + 1e-6 max|log_g|.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct GatingArgs {
  Tensor a, b;     // [T, HV] f32 or bf16, stride free in dimension 0
  Tensor A_log;    // [HV] f32 or bf16
  Tensor dt_bias;  // [HV] f32 or bf16
  Tensor log_g;    // [T, HV] f32
  Tensor beta;     // [T, HV] f32
  bool allow_neg_eigval = false;
};

template <class F>
void each_tensor(GatingArgs& a, F&& f) {
  f(a.a), f(a.b), f(a.A_log), f(a.dt_bias), f(a.log_g), f(a.beta);
}

Status check_gating(const GatingArgs& a);
std::span<const Impl<GatingArgs>> gating_impls();
Status gating(Context& ctx, const GatingArgs& a);

}  // namespace sluice
