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

// By dtypes only, as an implementation that depended on the number of rows would give a row other bits alone than in a batch.
Can integers(const QuantMatmulArgs& a) { return code_type(a.w) != CodeType::kFp8 ? Can{} : Can::no("w is F8_E4M3"); }
Can fp8(const QuantMatmulArgs& a) { return code_type(a.w) == CodeType::kFp8 ? Can{} : Can::no("w is not F8_E4M3"); }

constexpr Impl<QuantMatmulArgs> kImpls[] = {
    {"avx512_vnni", Isa::kAvx512Vnni, integers, quant_matmul_avx512_vnni_workspace, quant_matmul_avx512_vnni},
    {"avx512_bf16", Isa::kAvx512Bf16, fp8, quant_matmul_avx512_bf16_workspace, quant_matmul_avx512_bf16},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = quant_matmul_avx512_workspace, .run = quant_matmul_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = quant_matmul_avx2_workspace, .run = quant_matmul_avx2},
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
