#include "ops/weight_quant/body.h"

namespace sluice {

Status weight_quant_cpu(Context& ctx, const WeightQuantArgs& a, std::byte* scratch) {
  return weight_quant_body<simd::Plain>(ctx, a, scratch);
}
size_t weight_quant_workspace(const Context& ctx, const WeightQuantArgs& a) { return ctx.team->size() * weight_quant_scratch(a); }

}  // namespace sluice
