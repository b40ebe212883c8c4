// weight_quant: weights [N, K] to codes and scales of int8 or int4 (core/quantised.h).
//
// Of each group of elements with one scale:
//
//   candidates  of a scale s: +-max |w| / d for a few d near the largest code; and, from the codes that such an s gives,
//               sum w q / sum q^2, by least squares
//   s           rounded to the type in which it is stored, before codes are chosen
//   q           = w * (1 / s), in fp32, to the nearest, in the middle to the even one, within -8 .. 7 or -127 .. 127
//   kept        is the candidate whose sum of (w - q s)^2 is least, the first of equals
//
// A scale may be negative: the code -8 then serves the largest weight, be it positive or negative. A group of zeros has scale 0 and
// codes 0; one with something that is not finite has scale NaN and codes 0. Where a scale does not fit its type (f16) it is
// infinite.
//
// All forms give the same bits, on any number of threads.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/quantised.h"
#include "core/tensor.h"

namespace sluice {

struct WeightQuantArgs {
  Tensor w;      // [N, K] f32 or bf16, stride free in dimension 0
  Tensor codes;  // I8 [N, K] or I32 [N, K / 8], stride free in dimension 0
  Tensor scale;  // [N, 1] or [N, K / G] f32, f16 or bf16, stride free in dimension 0
};

template <class F>
void each_tensor(WeightQuantArgs& a, F&& f) {
  f(a.w), f(a.codes), f(a.scale);
}

Status check_weight_quant(const WeightQuantArgs& a);
std::span<const Impl<WeightQuantArgs>> weight_quant_impls();
Status weight_quant(Context& ctx, const WeightQuantArgs& a);

}  // namespace sluice
