// The implementations that are compiled where there is CUDA; the CPU's are those of ops/gdn_chunk.
#pragma once

#include "ops/gdn_decode/gdn_decode.h"

namespace sluice {

Status gdn_decode_cuda(Context&, const GdnDecodeArgs&, std::byte*);
Status gdn_decode_tma(Context&, const GdnDecodeArgs&, std::byte*);

}  // namespace sluice
