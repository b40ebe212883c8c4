#include "ops/fused_a_gemm/few_rows.cuh"
#include "ops/fused_a_gemm/forms.h"

namespace sluice {

Status fused_a_gemm_cuda(Context& ctx, const FusedAGemmArgs& a, std::byte*) {
  constexpr int kSplit = 2;  // pairs of blocks: neighbours in the grid that any GPU's groups of multiprocessors hold without a rest
  if (a.w.dtype == DType::kF8E4M3) return cuda::launch_few_rows<F8E4M3, kSplit>(ctx, a.x, a.w, a.w_scale, a.y);
  return cuda::launch_few_rows<Bf16, kSplit>(ctx, a.x, a.w, a.w_scale, a.y);
}

}  // namespace sluice
