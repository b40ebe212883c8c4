// hadamard: the orthonormal Walsh-Hadamard transform of each row of the last dimension, in Sylvester's order.
//
//   y[i] = n^-0.5 * sum over j of (-1)^(ones of i & j) x[j]
//
// It is its own inverse and keeps dot products. DeepSeek-V3.2 turns the indexer's q and k with it before fp8, so that outliers
// spread over the row.
// Tolerance: fp32 outputs rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct HadamardArgs {
  Tensor x;  // [R, N] or [T, H, N], f32 or bf16, N a power of two (on a GPU up to 1024), stride free but in the last dimension
  Tensor y;  // as x, f32 or bf16; may be x itself
};

template <class F>
void each_tensor(HadamardArgs& a, F&& f) {
  f(a.x), f(a.y);
}

Status check_hadamard(const HadamardArgs& a);
std::span<const Impl<HadamardArgs>> hadamard_impls();
Status hadamard(Context& ctx, const HadamardArgs& a);

}  // namespace sluice
