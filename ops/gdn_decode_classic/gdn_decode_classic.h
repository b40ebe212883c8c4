// gdn_decode_classic: one token a sequence in the classic form, for callers who keep one plain state and for comparison.
//
//   S <- e^{log_g} S;  S <- S + beta k (v - S^T k)^T;  o = scale S^T q        state read and written each step
//
// On a GPU the state lies [S, HV, V, K], K contiguous, and slots >= S are padding too.
//
// Tolerance: fp32 rel_rms 2e-5, max_rel 1e-4. A bf16 state is rounded after the step: one unit in the last place.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct GdnDecodeClassicArgs {
  Tensor q, k;         // [B, HK, K] f32 or bf16, stride free but in the last dimension
  Tensor v;            // [B, HV, V] likewise
  Tensor log_g, beta;  // [B, HV] f32
  Tensor slots;        // [B] i32, no two alike; < 0: o is zero, no state is touched
  Tensor state;        // [S, HV, K, V] f32 or bf16, V contiguous
  Tensor o;            // [B, HV, V] f32 or bf16
  float scale = 0;
  bool qk_l2norm = false;
  float l2_eps = 1e-6f;
};

template <class F>
void each_tensor(GdnDecodeClassicArgs& a, F&& f) {
  f(a.q), f(a.k), f(a.v), f(a.log_g), f(a.beta), f(a.slots), f(a.state, GpuLayout::kSwapLastTwo), f(a.o);
}

Status check_gdn_decode_classic(const GdnDecodeClassicArgs& a);
std::span<const Impl<GdnDecodeClassicArgs>> gdn_decode_classic_impls();
Status gdn_decode_classic(Context& ctx, const GdnDecodeClassicArgs& a);

}  // namespace sluice
