#include "core/check.h"
#include "ops/quant_matmul/forms.h"
#include "ops/quant_matmul/quant_matmul.h"

namespace sluice {

Status check_quant_matmul(const QuantMatmulArgs& a) {
  ArgCheck c("quant_matmul");
  c.rank("x", a.x, 2, 2).dtype("x", a.x, {DType::kF32, DType::kBF16}).inner_contiguous("x", a.x);
  check_quantised(c, "w", a.w, a.scale);
  c.shape("x", a.x, {a.x.shape[0], quantised_depth(a.w)});
  c.shape("y", a.y, {a.x.shape[0], a.w.shape[0]}).dtype("y", a.y, {DType::kF32, DType::kBF16}).inner_contiguous("y", a.y);
  return c.status();
}

namespace {

constexpr Impl<QuantMatmulArgs> kImpls[] = {
    {.name = "cpu", .workspace = quant_matmul_cpu_workspace, .run = quant_matmul_cpu},
    {.name = "reference", .run = quant_matmul_reference},
};

}  // namespace

std::span<const Impl<QuantMatmulArgs>> quant_matmul_impls() { return kImpls; }
OpInfo quant_matmul_op_info() { return describe_op("quant_matmul", quant_matmul_impls()); }
Status quant_matmul(Context& ctx, const QuantMatmulArgs& a) {
  return dispatch("quant_matmul", quant_matmul_impls(), check_quant_matmul, ctx, a);
}

}  // namespace sluice
