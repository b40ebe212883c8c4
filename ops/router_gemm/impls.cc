#include "core/check.h"
#include "ops/fused_a_gemm/few_rows.h"
#include "ops/matmul/forms.h"
#include "ops/router_gemm/forms.h"

namespace sluice {

Status check_router_gemm(const RouterGemmArgs& a) {
  ArgCheck c("router_gemm");
  c.rank("x", a.x, 2, 2).dtype("x", a.x, {DType::kBF16, DType::kF32}).inner_contiguous("x", a.x);
  c.rank("w", a.w, 2, 2).dtype("w", a.w, {DType::kBF16, DType::kF32}).inner_contiguous("w", a.w);
  c.shape("w", a.w, {a.w.shape[0], a.x.shape[1]});
  c.shape("logits", a.logits, {a.x.shape[0], a.w.shape[0]})
      .dtype("logits", a.logits, {DType::kF32, DType::kBF16})
      .inner_contiguous("logits", a.logits);
  return c.status();
}

namespace {

Can mma_can(const RouterGemmArgs& a) { return few_rows_can(a.x, a.w); }
Can sm90_can(const RouterGemmArgs& a) {
  if (a.w.dtype != DType::kBF16) return Can::no("w is not BF16");
  if (const Can c = few_rows_can(a.x, a.w); !c.yes()) return c;
  const int64_t k = a.w.shape[1];
  return k % kRouterPiece == 0 && k <= kRouterMostDepth ? Can{} : Can::no("K is no multiple of 128, or above 8192");
}
Can both_bf16(const RouterGemmArgs& a) {
  return a.x.dtype == DType::kBF16 && a.w.dtype == DType::kBF16 ? Can{} : Can::no("x and w are not both BF16");
}

// The CPU's forms are matmul's.
MatmulArgs product_of(const RouterGemmArgs& a) { return {.x = a.x, .w = a.w, .y = a.logits}; }

template <size_t (*workspace)(const Context&, const MatmulArgs&)>
size_t workspace_of(const Context& ctx, const RouterGemmArgs& a) {
  return workspace(ctx, product_of(a));
}
template <Status (*run)(Context&, const MatmulArgs&, std::byte*)>
Status run_product(Context& ctx, const RouterGemmArgs& a, std::byte* scratch) {
  return run(ctx, product_of(a), scratch);
}

constexpr Impl<RouterGemmArgs> kImpls[] = {
    {.name = "sm90", .isa = Isa::kSm90a, .can = sm90_can, .run = SLUICE_SM90_FORM(router_gemm_sm90)},
    {.name = "portable_mma", .isa = Isa::kCuda, .can = mma_can, .run = SLUICE_CUDA_FORM(router_gemm_mma)},
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(router_gemm_cuda)},
    {"amx", Isa::kAmxBf16, both_bf16, workspace_of<matmul_amx_workspace>, run_product<matmul_amx>},
    {"avx512", Isa::kAvx512, nullptr, workspace_of<matmul_avx512_workspace>, run_product<matmul_avx512>},
    {"avx2", Isa::kAvx2, nullptr, workspace_of<matmul_avx2_workspace>, run_product<matmul_avx2>},
    {"cpu", Isa::kAny, nullptr, workspace_of<matmul_cpu_workspace>, run_product<matmul_cpu>},
    {.name = "reference", .run = router_gemm_reference},
};

}  // namespace

std::span<const Impl<RouterGemmArgs>> router_gemm_impls() { return kImpls; }
OpInfo router_gemm_op_info() { return describe_op("router_gemm", router_gemm_impls()); }
Status router_gemm(Context& ctx, const RouterGemmArgs& args) {
  return dispatch("router_gemm", router_gemm_impls(), check_router_gemm, ctx, args);
}

}  // namespace sluice
