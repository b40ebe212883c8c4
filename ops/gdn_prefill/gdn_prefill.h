// gdn_prefill: the gated delta rule over any number of rows a sequence; formula and state in ops/gdn_chunk/gdn_chunk.h.
// Chunks that fill up are closed. A new sequence of no rows gets a zero state.
//
// Tolerance (rel_rms, max_rel), outputs and states alike: fp32 forms 2e-5, 1e-4; forms on tensor cores, which take q, k and v as
// bf16, 8e-3, 2e-2; a bf16 output or a bf16 pool brings any form to 8e-3, 2e-2.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/gdn_chunk/args.h"

namespace sluice {

struct GdnPrefillArgs : GdnArgs {
  // Optional copies of S at every multiple of checkpoint_every tokens in (start, start + rows] of a sequence: what a later sequence
  // with the same beginning can start from, with no open rows. Row checkpoint_cu[b] of `checkpoints` is the first of sequence b,
  // and there must be room for all of them.
  Tensor checkpoints;            // [N, HV, K, V] f32, layout as state.s
  Tensor checkpoint_cu;          // [B+1] i32
  int64_t checkpoint_every = 0;  // tokens, a multiple of 64; 0: none
};

template <class F>
void each_tensor(GdnPrefillArgs& a, F&& f) {
  each_tensor(static_cast<GdnArgs&>(a), f);
  f(a.checkpoints, GpuLayout::kSwapLastTwo), f(a.checkpoint_cu);
}

Status check_gdn_prefill(const GdnPrefillArgs& a);
std::span<const Impl<GdnPrefillArgs>> gdn_prefill_impls();
Status gdn_prefill(Context& ctx, const GdnPrefillArgs& a);

}  // namespace sluice
