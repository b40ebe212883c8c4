// The GPU's implementations, one a file; the CPU's are in ops/gdn_chunk.
#pragma once

#include "core/tile.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice {

Status gdn_prefill_cuda(Context&, const GdnPrefillArgs&, std::byte*);
Tiles gdn_prefill_cuda_tiles(const GdnPrefillArgs&);
Status gdn_prefill_cuda_mma(Context&, const GdnPrefillArgs&, std::byte*);
size_t gdn_prefill_cuda_mma_workspace(const Context&, const GdnPrefillArgs&);
Tiles gdn_prefill_cuda_mma_tiles(const GdnPrefillArgs&);

// Rows that can be copied 16 bytes at a time.
inline bool aligned_bf16(const Tensor& t) {
  return t.dtype == DType::kBF16 && reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.stride[0] % 8 == 0 && t.stride[1] % 8 == 0;
}

}  // namespace sluice
