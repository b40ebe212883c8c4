// state_dequant: what ops/state_quant has made, as recurrent states again. x[n, r, d] = q[n, r, d] scale[n, r], exact in fp32's
// rounding: the same bits in all forms. The scale NaN makes its whole row NaN.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct StateDequantArgs {
  Tensor q;      // [N, R, D] i8, D a multiple of 16; here and in x strides are free but in the last dimension
  Tensor scale;  // [N, R] f32, stride free in dimension 0
  Tensor x;      // [N, R, D] f32
};

template <class F>
void each_tensor(StateDequantArgs& a, F&& f) {
  f(a.q), f(a.scale), f(a.x);
}

Status check_state_dequant(const StateDequantArgs& a);
std::span<const Impl<StateDequantArgs>> state_dequant_impls();
Status state_dequant(Context& ctx, const StateDequantArgs& a);

}  // namespace sluice
