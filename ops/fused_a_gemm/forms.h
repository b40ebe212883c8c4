// The implementations; with a bf16 w the CPU's are matmul's (products.h), with an e4m3 w body.h.
#pragma once

#include "ops/fused_a_gemm/fused_a_gemm.h"

namespace sluice {

Status fused_a_gemm_reference(Context&, const FusedAGemmArgs&, std::byte*);
Status fused_a_gemm_cpu(Context&, const FusedAGemmArgs&, std::byte*);
Status fused_a_gemm_avx2(Context&, const FusedAGemmArgs&, std::byte*);
Status fused_a_gemm_avx512(Context&, const FusedAGemmArgs&, std::byte*);
Status fused_a_gemm_cuda(Context&, const FusedAGemmArgs&, std::byte*);
Status fused_a_gemm_tma(Context&, const FusedAGemmArgs&, std::byte*);

inline constexpr int64_t kFusedABlock = 128;  // rows and columns of an e4m3 w that share a scale

}  // namespace sluice
