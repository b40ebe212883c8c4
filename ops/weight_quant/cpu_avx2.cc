#include "core/simd_avx2.h"
#include "ops/weight_quant/body.h"

namespace sluice {

Status weight_quant_avx2(Context& ctx, const WeightQuantArgs& a, std::byte* scratch) {
  return weight_quant_body<simd::Avx2>(ctx, a, scratch);
}

}  // namespace sluice
