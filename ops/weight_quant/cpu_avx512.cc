#include "core/simd_avx512.h"
#include "ops/weight_quant/body.h"

namespace sluice {

Status weight_quant_avx512(Context& ctx, const WeightQuantArgs& a, std::byte* scratch) {
  return weight_quant_body<simd::Avx512>(ctx, a, scratch);
}

}  // namespace sluice
