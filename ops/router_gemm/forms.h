// The implementations; the CPU's are matmul's (impls.cc).
#pragma once

#include "ops/router_gemm/router_gemm.h"

namespace sluice {

Status router_gemm_reference(Context&, const RouterGemmArgs&, std::byte*);
Status router_gemm_sm90(Context&, const RouterGemmArgs&, std::byte*);
Status router_gemm_mma(Context&, const RouterGemmArgs&, std::byte*);
Status router_gemm_cuda(Context&, const RouterGemmArgs&, std::byte*);

inline constexpr int64_t kRouterPiece = 128, kRouterMostDepth = 8192;  // of K, of the form for sm_90

}  // namespace sluice
