// qkv_split: takes the fused projection of a gated delta layer apart. Copies, so bits are kept.
//
//   kConcatenated (Qwen3.5):   a row of `mixed` is [q HK*K | k HK*K | v HV*V | z HV*V | b HV | a HV], each head-major;
//                              z, b and a may be absent, and a row may end after the last one that is asked for
//   kPerKeyHead (Qwen3-Next):  a row of `mixed` is, for each key head, [q K | k K | v r*V | z r*V]; a row of `ba` is, for each key
//                              head, [b r | a r]; r = HV / HK
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

enum class QkvLayout : unsigned char { kConcatenated, kPerKeyHead };

struct QkvSplitArgs {
  Tensor mixed;  // [T, W] f32, bf16 or f16, any strides (the transpose of a convolution's output, for one)
  Tensor ba;     // [T, 2*HV] dtype of mixed, stride free in dimension 0; with kPerKeyHead, where b and a are asked for
  Tensor q, k;   // [T, HK, K] same dtype as mixed, stride free but in the last dimension
  Tensor v, z;   // [T, HV, V]; z optional
  Tensor b, a;   // [T, HV], stride free in dimension 0; optional, both or none
  QkvLayout layout = QkvLayout::kConcatenated;
};

template <class F>
void each_tensor(QkvSplitArgs& a, F&& f) {
  f(a.mixed), f(a.ba), f(a.q), f(a.k), f(a.v), f(a.z), f(a.b), f(a.a);
}

Status check_qkv_split(const QkvSplitArgs& a);
std::span<const Impl<QkvSplitArgs>> qkv_split_impls();
Status qkv_split(Context& ctx, const QkvSplitArgs& a);

}  // namespace sluice
