// The implementations; the CPU's are matmul's (impls.cc).
#pragma once

#include "ops/router_gemm/router_gemm.h"

namespace sluice {

Status router_gemm_reference(Context&, const RouterGemmArgs&, std::byte*);
Status router_gemm_mma(Context&, const RouterGemmArgs&, std::byte*);
Status router_gemm_cuda(Context&, const RouterGemmArgs&, std::byte*);

}  // namespace sluice
