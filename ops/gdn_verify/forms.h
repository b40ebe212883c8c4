// The implementations that are compiled where there is CUDA; the CPU's are those of ops/gdn_chunk.
#pragma once

#include "ops/gdn_verify/gdn_verify.h"

namespace sluice {

Status gdn_verify_cuda(Context&, const GdnVerifyArgs&, std::byte*);
Status gdn_verify_tma(Context&, const GdnVerifyArgs&, std::byte*);

}  // namespace sluice
