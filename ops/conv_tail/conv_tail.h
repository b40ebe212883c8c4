// conv_tail: keeps what a convolution needs to go on from the last multiple of 64 tokens that a step reaches.
//
// A chunk's state can be copied as long as the next chunk is open, but the convolution's ring (ops/qkv_conv_split) has moved on by
// then. So its last W-1 input rows before the chunk's end are kept beside the state: with L = (start + rows) / 64 * 64,
//
//   tail[slot, i] = input row of position L - (W-1) + i      where L > start, or where the call brings no rows and L = start > 0
//
// The tails of other sequences keep their bits. Rows of this step come from qkv, earlier ones from the ring, which must be as it
// was before the step. Copies are exact, bf16 widened. Slot < 0: skipped; on a GPU, where slots cannot be seen ahead, so is one
// outside the pool.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct ConvTailArgs {
  Tensor qkv;         // [T, C] f32 or bf16, stride free in dimension 0; T may be 0
  Tensor conv_ring;   // [S, R, C] f32, R a power of two >= W; row p % R is position p
  Tensor cu_seqlens;  // [B+1] i32
  Tensor start;       // [B] i32: position of the sequence's first row in this call
  Tensor slots;       // [B] i32, no two alike but for those below 0
  Tensor tail;        // [S, W-1, C] f32, C contiguous
};

template <class F>
void each_tensor(ConvTailArgs& a, F&& f) {
  f(a.qkv), f(a.conv_ring), f(a.cu_seqlens), f(a.start), f(a.slots), f(a.tail);
}

Status check_conv_tail(const ConvTailArgs& a);
std::span<const Impl<ConvTailArgs>> conv_tail_impls();
Status conv_tail(Context& ctx, const ConvTailArgs& a);

}  // namespace sluice
