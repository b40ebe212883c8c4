#include "core/simd_avx2.h"
#include "ops/fused_a_gemm/body.h"
#include "ops/fused_a_gemm/products.h"

namespace sluice {

Status fused_a_gemm_avx2(Context& ctx, const FusedAGemmArgs& args, std::byte* scratch) {
  if (args.w.dtype == DType::kF8E4M3) return fused_a_body<simd::Avx2, 1>(ctx, args);
  return matmul_avx2(ctx, product_of(args), scratch);
}

}  // namespace sluice
