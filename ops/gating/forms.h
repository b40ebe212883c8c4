// The implementations, one a file.
#pragma once

#include "ops/gating/gating.h"

namespace sluice {

Status gating_reference(Context&, const GatingArgs&, std::byte*);
Status gating_cpu(Context&, const GatingArgs&, std::byte*);
Status gating_avx2(Context&, const GatingArgs&, std::byte*);
Status gating_avx512(Context&, const GatingArgs&, std::byte*);
Status gating_cuda(Context&, const GatingArgs&, std::byte*);

}  // namespace sluice
