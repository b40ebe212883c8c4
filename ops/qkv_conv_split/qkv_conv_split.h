// qkv_conv_split: all of a gated delta layer between its input projections and the delta rule, in one pass over the rows.
//
//   [q | k | v] = silu(causal_conv1d(qkv));  q, k = l2norm(q), l2norm(k) per head;  log_g, beta = gating(a, b)
//
// The convolution's history is a ring: `conv_ring[slot, p % R]` holds the input row of position p, for the last R positions. A
// rejected draft is then a cursor moved back (`start` of the next call), as long as it is at most R - (W-1) tokens long.
// A row's bits do not depend on how the sequence is cut into calls.
// Slot < 0: q, k, v, log_g and beta of the sequence are zero, the ring is not touched.
// Tolerance: that of its parts (causal_conv1d, l2norm, gating), with q, k and v in fp32 or bf16; the ring's rows are exact copies.
// On a GPU weight, A_log and dt_bias may be read before the launch just ahead in the stream has ended.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct QkvConvSplitArgs {
  Tensor qkv;          // [T, C] f32 or bf16, C = 2*HK*K + HV*V, stride free in dimension 0
  Tensor b, a;         // [T, HV] f32 or bf16
  Tensor weight;       // [C, W] f32 or bf16, W 2 to 4
  Tensor A_log;        // [HV] f32 or bf16
  Tensor dt_bias;      // [HV] f32 or bf16
  Tensor conv_ring;    // [S, R, C] f32, or bf16 where qkv is; C contiguous, R a power of two >= W
  Tensor cu_seqlens;   // [B+1] i32
  Tensor start;        // [B] i32: position of the sequence's first row in this call; positions below 0 read as zero
  Tensor slots;        // [B] i32, no two alike but for those below 0
  Tensor q, k;         // [T, HK, K] f32 or bf16
  Tensor v;            // [T, HV, V] as q
  Tensor log_g, beta;  // [T, HV] f32
  float l2_eps = 1e-6f;
  bool allow_neg_eigval = false;
};

template <class F>
void each_tensor(QkvConvSplitArgs& a, F&& f) {
  f(a.qkv), f(a.b), f(a.a), f(a.weight), f(a.A_log), f(a.dt_bias), f(a.conv_ring), f(a.cu_seqlens), f(a.start), f(a.slots);
  f(a.q), f(a.k), f(a.v), f(a.log_g), f(a.beta);
}

Status check_qkv_conv_split(const QkvConvSplitArgs& a);
std::span<const Impl<QkvConvSplitArgs>> qkv_conv_split_impls();
Status qkv_conv_split(Context& ctx, const QkvConvSplitArgs& a);

}  // namespace sluice
