// gdn_prefill: the gated delta rule over any number of rows a sequence; formula and state in ops/gdn_chunk/gdn_chunk.h.
// Chunks that fill up are closed. A new sequence of no rows gets a zero state.
// Tolerance: fp32 rel_rms 2e-5, max_rel 1e-4 (outputs and states); bf16 outputs 8e-3, 2e-2.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/gdn_chunk/args.h"

namespace sluice {

struct GdnPrefillArgs : GdnArgs {};

Status check_gdn_prefill(const GdnPrefillArgs& a);
std::span<const Impl<GdnPrefillArgs>> gdn_prefill_impls();
Status gdn_prefill(Context& ctx, const GdnPrefillArgs& a);

}  // namespace sluice
