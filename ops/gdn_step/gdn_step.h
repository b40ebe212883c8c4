// gdn_step: a decode step of a gated delta layer between its two projections, in one pass a sequence and head:
// qkv_conv_split, gdn_decode and gated_rmsnorm. On the CPU the same bits as those three. Tolerance: theirs.
//
// For callers who keep one plain state: without state.k, state.u and state.g the step is that of gdn_decode_classic, which reads
// and writes state.s each time; a sequence is new where start is 0. state.s may then be bf16 on the CPU too.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {

struct GdnStepArgs {
  Tensor qkv;             // [B, C] f32 or bf16, C = 2*HK*K + HV*V
  Tensor z;               // [B, HV, V] f32 or bf16: the output gate
  Tensor b, a;            // [B, HV] f32 or bf16
  Tensor conv_weight;     // [C, W] f32 or bf16
  Tensor A_log, dt_bias;  // [HV] f32 or bf16
  Tensor norm_weight;     // [V] f32 or bf16
  Tensor conv_ring;       // [S, R, C] f32 or bf16 (exact where qkv is bf16), see qkv_conv_split
  Tensor start;           // [B] i32
  Tensor slots;           // [B] i32; < 0: y is zero
  GdnState state;         // s alone: the classic form
  Tensor y;               // [B, HV, V] f32 or bf16
  float scale = 0;
  float l2_eps = 1e-6f;
  float norm_eps = 1e-6f;
  bool allow_neg_eigval = false;
};

template <class F>
void each_tensor(GdnStepArgs& a, F&& f) {
  f(a.qkv), f(a.z), f(a.b), f(a.a), f(a.conv_weight), f(a.A_log), f(a.dt_bias), f(a.norm_weight), f(a.conv_ring), f(a.start),
      f(a.slots);
  each_tensor(a.state, f), f(a.y);
}

Status check_gdn_step(const GdnStepArgs& a);
std::span<const Impl<GdnStepArgs>> gdn_step_impls();
Status gdn_step(Context& ctx, const GdnStepArgs& a);

}  // namespace sluice
