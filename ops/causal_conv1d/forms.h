// The implementations, one a file.
#pragma once

#include "ops/causal_conv1d/causal_conv1d.h"

namespace sluice {

Status causal_conv1d_reference(Context&, const CausalConv1dArgs&, std::byte*);
Status causal_conv1d_cpu(Context&, const CausalConv1dArgs&, std::byte*);
Status causal_conv1d_avx2(Context&, const CausalConv1dArgs&, std::byte*);
Status causal_conv1d_avx512(Context&, const CausalConv1dArgs&, std::byte*);
Status causal_conv1d_cuda(Context&, const CausalConv1dArgs&, std::byte*);

}  // namespace sluice
