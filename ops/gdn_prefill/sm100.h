// gdn_prefill on compute capability 10.0 and 10.3.
#pragma once

#include "ops/gdn_prefill/sm90.h"

namespace sluice {

Can gdn_prefill_sm100_can(const GdnPrefillArgs& a);
size_t gdn_prefill_sm100_workspace(const Context& ctx, const GdnPrefillArgs& a);
Status gdn_prefill_sm100(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch);

// Here, so that builds without CUDA can tell why as well.
inline Can gdn_prefill_sm100_can(const GdnPrefillArgs& a) {
  if (a.checkpoint_every && (reinterpret_cast<uintptr_t>(a.checkpoints.data) % 16 || a.checkpoints.stride[0] % 4))
    return Can::no("checkpoints must lie at multiples of 16 bytes");
  return gdn_prefill_sm90_can(a);
}

}  // namespace sluice
