// The implementations, one a file.
#pragma once

#include "ops/l2norm/l2norm.h"

namespace sluice {

Status l2norm_reference(Context&, const L2normArgs&, std::byte*);
Status l2norm_cpu(Context&, const L2normArgs&, std::byte*);
Status l2norm_avx2(Context&, const L2normArgs&, std::byte*);
Status l2norm_avx512(Context&, const L2normArgs&, std::byte*);
Status l2norm_cuda(Context&, const L2normArgs&, std::byte*);

}  // namespace sluice
