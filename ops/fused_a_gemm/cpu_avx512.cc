#include "core/simd_avx512.h"
#include "ops/fused_a_gemm/body.h"
#include "ops/fused_a_gemm/products.h"

namespace sluice {

Status fused_a_gemm_avx512(Context& ctx, const FusedAGemmArgs& args, std::byte* scratch) {
  if (args.w.dtype == DType::kF8E4M3) return fused_a_body<simd::Avx512, 6>(ctx, args);
  return matmul_avx512(ctx, product_of(args), scratch);
}

}  // namespace sluice
