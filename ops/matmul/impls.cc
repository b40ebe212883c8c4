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

// Copies and loads of 16 bytes. A single row's stride counts too, or it could get another form than in a batch.
Can mma_can(const MatmulArgs& a) {
  if (const Can c = both_bf16(a); !c.yes()) return c;
  constexpr int64_t kElements = 8;  // in 16 bytes
  if (a.x.shape[1] == 0 || a.x.shape[1] % kElements != 0) return Can::no("K is not a multiple of 8");
  const auto begins_at_16 = [](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.stride[0] % kElements == 0;
  };
  return begins_at_16(a.x) && begins_at_16(a.w) ? Can{} : Can::no("a row of x or w does not begin at a multiple of 16 bytes");
}
// The same bits as portable_mma.
Can portable_few_can(const MatmulArgs& a) {
  return a.x.shape[0] <= kMatmulMostFewRows ? mma_can(a) : Can::no("x has more than 16 rows");
}
Can few_rows_can(const MatmulArgs& a) {
  return a.x.shape[0] <= kMatmulFirstFewRows ? portable_few_can(a) : Can::no("x has more than 8 rows");
}

// On a GPU by the number of rows: all but cublaslt give a row the same bits in any batch, and those called portable_.. the same
// as one another.
constexpr Impl<MatmulArgs> kImpls[] = {
    {.name = "few_rows", .isa = Isa::kCuda, .can = few_rows_can, .run = SLUICE_CUDA_FORM(matmul_few_rows)},
    {.name = "cublaslt",
     .isa = Isa::kCuda,
     .can = SLUICE_CUBLASLT_FORM(matmul_cublaslt_can),
     .workspace = SLUICE_CUBLASLT_FORM(matmul_cublaslt_workspace),
     .run = SLUICE_CUBLASLT_FORM(matmul_cublaslt),
     .by_batch = true},
    {.name = "portable_few", .isa = Isa::kCuda, .can = portable_few_can, .run = SLUICE_CUDA_FORM(matmul_few_rows)},
    {.name = "portable_wgmma", .isa = Isa::kSm90a, .can = mma_can, .run = SLUICE_SM90_FORM(matmul_wgmma)},
    {.name = "portable_mma", .isa = Isa::kCuda, .can = mma_can, .run = SLUICE_CUDA_FORM(matmul_mma)},
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(matmul_cuda)},
    {"amx", Isa::kAmxBf16, both_bf16, matmul_amx_workspace, matmul_amx},
    {"avx512_bf16", Isa::kAvx512Bf16, both_bf16, matmul_avx512_bf16_workspace, matmul_avx512_bf16},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = matmul_avx512_workspace, .run = matmul_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = matmul_avx2_workspace, .run = matmul_avx2},
    {.name = "cpu", .workspace = matmul_cpu_workspace, .run = matmul_cpu},
    {.name = "reference", .run = matmul_reference},
};

}  // namespace

std::span<const Impl<MatmulArgs>> matmul_impls() { return kImpls; }
OpInfo matmul_op_info() { return describe_op("matmul", matmul_impls()); }
Status matmul(Context& ctx, const MatmulArgs& a) { return dispatch("matmul", matmul_impls(), check_matmul, ctx, a); }

}  // namespace sluice
