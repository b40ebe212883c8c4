#include "core/check.h"
#include "ops/matmul/forms.h"
#include "ops/matmul/matmul.h"

namespace sluice {

Status check_matmul(const MatmulArgs& a) {
  ArgCheck c("matmul");
  c.rank("x", a.x, 2, 2).dtype("x", a.x, {DType::kF32, DType::kBF16}).inner_contiguous("x", a.x);
  c.rank("w", a.w, 2, 2).dtype("w", a.w, {DType::kF32, DType::kBF16}).inner_contiguous("w", a.w);
  c.shape("w", a.w, {a.w.shape[0], a.x.shape[1]});
  c.shape("y", a.y, {a.x.shape[0], a.w.shape[0]}).dtype("y", a.y, {DType::kF32, DType::kBF16}).inner_contiguous("y", a.y);
  return c.status();
}

namespace {

// By dtypes only: an implementation that depended on the number of rows would give a row other bits alone than in a batch.
Can both_bf16(const MatmulArgs& a) {
  return a.x.dtype == DType::kBF16 && a.w.dtype == DType::kBF16 ? Can{} : Can::no("x and w are not both BF16");
}

constexpr Impl<MatmulArgs> kImpls[] = {
    {"amx", Isa::kAmxBf16, both_bf16, matmul_amx_workspace, matmul_amx},
    {"avx512_bf16", Isa::kAvx512Bf16, both_bf16, matmul_avx512_bf16_workspace, matmul_avx512_bf16},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = matmul_avx512_workspace, .run = matmul_avx512},
    {.name = "cpu", .workspace = matmul_cpu_workspace, .run = matmul_cpu},
    {.name = "reference", .run = matmul_reference},
};

}  // namespace

std::span<const Impl<MatmulArgs>> matmul_impls() { return kImpls; }
OpInfo matmul_op_info() { return describe_op("matmul", matmul_impls()); }
Status matmul(Context& ctx, const MatmulArgs& a) { return dispatch("matmul", matmul_impls(), check_matmul, ctx, a); }

}  // namespace sluice
