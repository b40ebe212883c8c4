#include "base/checked.h"
#include "core/check.h"
#include "ops/fused_a_gemm/few_rows.h"
#include "ops/fused_a_gemm/products.h"

namespace sluice {

Status check_fused_a_gemm(const FusedAGemmArgs& a) {
  ArgCheck c("fused_a_gemm");
  c.rank("x", a.x, 2, 2).dtype("x", a.x, {DType::kBF16}).inner_contiguous("x", a.x);
  c.rank("w", a.w, 2, 2).dtype("w", a.w, {DType::kBF16, DType::kF8E4M3}).inner_contiguous("w", a.w);
  const int64_t T = a.x.shape[0], N = a.w.shape[0], K = a.x.shape[1];
  c.shape("w", a.w, {N, K});
  if (a.w.dtype == DType::kF8E4M3)
    c.dtype("w_scale", a.w_scale, {DType::kF32})
        .shape("w_scale", a.w_scale, {ceil_div(N, kFusedABlock), ceil_div(K, kFusedABlock)})
        .inner_contiguous("w_scale", a.w_scale);
  else c.that(!a.w_scale.present(), "w_scale is there, and w is BF16: wanted F8_E4M3");
  c.shape("y", a.y, {T, N}).dtype("y", a.y, {DType::kBF16, DType::kF32}).inner_contiguous("y", a.y);
  return c.status();
}

namespace {

Can cuda_can(const FusedAGemmArgs& a) { return few_rows_can(a.x, a.w); }
Can tma_can(const FusedAGemmArgs& a) {
  if (a.w.dtype != DType::kF8E4M3) return Can::no("w is not F8_E4M3");
  return a.x.shape[1] == 0 ? Can::no("K is 0") : few_rows_can(a.x, a.w);
}
Can bf16_weights(const FusedAGemmArgs& a) { return a.w.dtype == DType::kBF16 ? Can{} : Can::no("w is not BF16"); }

template <size_t (*workspace)(const Context&, const MatmulArgs&)>
size_t workspace_of(const Context& ctx, const FusedAGemmArgs& a) {
  return a.w.dtype == DType::kBF16 ? workspace(ctx, product_of(a)) : 0;
}
template <Status (*run)(Context&, const MatmulArgs&, std::byte*)>
Status run_product(Context& ctx, const FusedAGemmArgs& a, std::byte* scratch) {
  return run(ctx, product_of(a), scratch);
}

constexpr Impl<FusedAGemmArgs> kImpls[] = {
    {.name = "sm100", .isa = Isa::kSm100a, .can = tma_can, .run = SLUICE_SM100_FORM(fused_a_gemm_tma)},
    {.name = "sm90", .isa = Isa::kSm90a, .can = tma_can, .run = SLUICE_SM90_FORM(fused_a_gemm_tma)},
    {.name = "portable", .isa = Isa::kCuda, .can = cuda_can, .run = SLUICE_CUDA_FORM(fused_a_gemm_cuda)},
    {"amx", Isa::kAmxBf16, bf16_weights, workspace_of<matmul_amx_workspace>, run_product<matmul_amx>},
    {"avx512_bf16", Isa::kAvx512Bf16, bf16_weights, workspace_of<matmul_avx512_bf16_workspace>, run_product<matmul_avx512_bf16>},
    {"avx512", Isa::kAvx512, nullptr, workspace_of<matmul_avx512_workspace>, fused_a_gemm_avx512},
    {"avx2", Isa::kAvx2, nullptr, workspace_of<matmul_avx2_workspace>, fused_a_gemm_avx2},
    {"cpu", Isa::kAny, nullptr, workspace_of<matmul_cpu_workspace>, fused_a_gemm_cpu},
    {.name = "reference", .run = fused_a_gemm_reference},
};

}  // namespace

std::span<const Impl<FusedAGemmArgs>> fused_a_gemm_impls() { return kImpls; }
OpInfo fused_a_gemm_op_info() { return describe_op("fused_a_gemm", fused_a_gemm_impls()); }
Status fused_a_gemm(Context& ctx, const FusedAGemmArgs& args) {
  return dispatch("fused_a_gemm", fused_a_gemm_impls(), check_fused_a_gemm, ctx, args);
}

}  // namespace sluice
