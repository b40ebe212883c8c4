// gdn_step: a decode step of a gated delta layer between its two projections, in one pass a sequence and head:
// qkv_conv_split, gdn_decode and gated_rmsnorm. The same bits as those three. Tolerance: theirs.
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
  Tensor conv_ring;       // [S, R, C] f32, see qkv_conv_split
  Tensor start;           // [B] i32
  Tensor slots;           // [B] i32; < 0: y is zero
  GdnState state;
  Tensor y;  // [B, HV, V] f32 or bf16
  float scale = 0;
  float l2_eps = 1e-6f;
  float norm_eps = 1e-6f;
  bool allow_neg_eigval = false;
};

Status check_gdn_step(const GdnStepArgs& a);
std::span<const Impl<GdnStepArgs>> gdn_step_impls();
Status gdn_step(Context& ctx, const GdnStepArgs& a);

}  // namespace sluice
