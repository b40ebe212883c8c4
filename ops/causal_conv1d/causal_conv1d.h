// causal_conv1d: a short depthwise convolution along each sequence, with its state in a pool (prefill, decode and verification).
//
//   y[t, c] = act(bias[c] + sum_w weight[c, w] * x[t - (W-1) + w, c])      weight[:, W-1] multiplies the current token
//   inputs before the call come from conv_state[slot, c, :], oldest first; zeros for a new sequence
//   afterwards conv_state holds the last W-1 inputs, copied (from the old state where the sequence is shorter)
//
// Slot < 0: the sequence's y and step_states are zero and conv_state is neither read nor written. Empty sequences keep their state
// (a new one's becomes zero). On a GPU weight and bias may be read before the launch just ahead in the stream has ended.
// Tolerance: fp32 rel_rms 2e-6, max_rel 2e-5; bf16 4e-3, 8e-3; the states are exact copies.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct CausalConv1dArgs {
  Tensor x;            // [T, C] f32 or bf16, stride free in dimension 0
  Tensor weight;       // [C, W] f32 or bf16, W 2 to 4
  Tensor bias;         // optional [C] f32 or bf16
  Tensor conv_state;   // [S, C, W-1] f32 or bf16, any strides (C contiguous is fastest); values keep x's precision if it is as wide
  Tensor cu_seqlens;   // [B+1] i32: rows of sequence b are [cu[b], cu[b+1])
  Tensor slots;        // [B] i32, each < S, no two alike but for -1
  Tensor has_state;    // optional [B] i32: 0 = a new sequence; absent: all continue
  Tensor y;            // [T, C] f32 or bf16, stride free in dimension 0
  Tensor step_states;  // optional [T, C, W-1], as conv_state: the state after each token (verification)
  bool update_state = true;  // false: conv_state is only read (verification)
  bool silu = true;
};

template <class F>
void each_tensor(CausalConv1dArgs& a, F&& f) {
  f(a.x), f(a.weight), f(a.bias), f(a.conv_state), f(a.cu_seqlens), f(a.slots), f(a.has_state), f(a.y), f(a.step_states);
}

Status check_causal_conv1d(const CausalConv1dArgs& a);
std::span<const Impl<CausalConv1dArgs>> causal_conv1d_impls();
Status causal_conv1d(Context& ctx, const CausalConv1dArgs& a);

}  // namespace sluice
