// gdn_prefill on compute capability 9.0.
#pragma once

#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_prefill/forms.h"

namespace sluice {

Can gdn_prefill_sm90_can(const GdnPrefillArgs& a);
size_t gdn_prefill_sm90_workspace(const Context& ctx, const GdnPrefillArgs& a);
Status gdn_prefill_sm90(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch);

// Here, so that builds without CUDA can tell why as well.
inline Can gdn_prefill_sm90_can(const GdnPrefillArgs& a) {
  if (!aligned_bf16(a.q) || !aligned_bf16(a.k) || !aligned_bf16(a.v) || !aligned_bf16(a.o))
    return Can::no("q, k, v and o must be bf16 rows at multiples of 16 bytes");
  if (a.k.dim(2) != 128 || a.v.dim(2) != 128) return Can::no("K and V must be 128");
  return gdn::cuda_form(a.state);
}

}  // namespace sluice
