// state_quant: recurrent states in eight bits, each row of a state with a scale of its own, and how far that is from them.
//
//   scale[n, r] = max(max_d |x[n, r, d]|, 2^-100) / 127, at most what 127 times is finite
//   q[n, r, d]  = x[n, r, d] / scale[n, r]         in fp32, then to the nearest, in the middle to the even one
//   error[n]    = sqrt(sum e^2 / sum x^2)          with e = x - scale q, over the rows of state n; 0 for a state of zeros
//
// ops/state_dequant gives every value back within half a scale: a 254th of its row's largest, or 2^-108. A row with a value that is
// not finite gets the scale NaN and zeros as codes, so that it comes back as NaN throughout, and the error of its state is NaN.
//
// Tolerance: scales and codes have the same bits in all forms; the error 1e-5 relative.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct StateQuantArgs {
  Tensor x;      // [N, R, D] f32, D a multiple of 16; here and in q strides are free but in the last dimension
  Tensor q;      // [N, R, D] i8
  Tensor scale;  // [N, R] f32, stride free in dimension 0
  Tensor error;  // [N] f32, contiguous
};

template <class F>
void each_tensor(StateQuantArgs& a, F&& f) {
  f(a.x), f(a.q), f(a.scale), f(a.error);
}

Status check_state_quant(const StateQuantArgs& a);
std::span<const Impl<StateQuantArgs>> state_quant_impls();
Status state_quant(Context& ctx, const StateQuantArgs& a);

}  // namespace sluice
