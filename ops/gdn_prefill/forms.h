// The GPU's implementations, one a file; the CPU's are in ops/gdn_chunk.
#pragma once

#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice {

Status gdn_prefill_cuda(Context&, const GdnPrefillArgs&, std::byte*);
Status gdn_prefill_cuda_mma(Context&, const GdnPrefillArgs&, std::byte*);
size_t gdn_prefill_cuda_mma_workspace(const Context&, const GdnPrefillArgs&);

}  // namespace sluice
