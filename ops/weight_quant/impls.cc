#include "core/check.h"
#include "ops/weight_quant/forms.h"
#include "ops/weight_quant/weight_quant.h"

namespace sluice {

Status check_weight_quant(const WeightQuantArgs& a) {
  ArgCheck c("weight_quant");
  c.rank("w", a.w, 2, 2).dtype("w", a.w, {DType::kF32, DType::kBF16}).inner_contiguous("w", a.w);
  c.dtype("codes", a.codes, {DType::kI8, DType::kI32});
  check_quantised(c, "codes", a.codes, a.scale);
  c.shape("w", a.w, {a.codes.shape[0], quantised_depth(a.codes)});
  return c.status();
}

namespace {
constexpr Impl<WeightQuantArgs> kImpls[] = {
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = weight_quant_workspace, .run = weight_quant_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = weight_quant_workspace, .run = weight_quant_avx2},
    {.name = "cpu", .workspace = weight_quant_workspace, .run = weight_quant_cpu},
    {.name = "reference", .run = weight_quant_reference},
};
}  // namespace

std::span<const Impl<WeightQuantArgs>> weight_quant_impls() { return kImpls; }
OpInfo weight_quant_op_info() { return describe_op("weight_quant", weight_quant_impls()); }
Status weight_quant(Context& ctx, const WeightQuantArgs& a) {
  return dispatch("weight_quant", weight_quant_impls(), check_weight_quant, ctx, a);
}

}  // namespace sluice
