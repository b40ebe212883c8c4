#include "core/check.h"
#include "ops/gating/forms.h"
#include "ops/gating/gating.h"

namespace sluice {

Status check_gating(const GatingArgs& a) {
  const int64_t T = a.a.shape[0], HV = a.a.shape[1];
  ArgCheck c("gating");
  c.rank("a", a.a, 2, 2).dtype("a", a.a, {DType::kF32, DType::kBF16}).inner_contiguous("a", a.a);
  c.dtype("b", a.b, {DType::kF32, DType::kBF16}).shape("b", a.b, {T, HV}).inner_contiguous("b", a.b);
  c.dtype("A_log", a.A_log, {DType::kF32, DType::kBF16}).shape("A_log", a.A_log, {HV}).inner_contiguous("A_log", a.A_log);
  c.dtype("dt_bias", a.dt_bias, {DType::kF32, DType::kBF16})
      .shape("dt_bias", a.dt_bias, {HV})
      .inner_contiguous("dt_bias", a.dt_bias);
  c.dtype("log_g", a.log_g, {DType::kF32}).shape("log_g", a.log_g, {T, HV}).inner_contiguous("log_g", a.log_g);
  c.dtype("beta", a.beta, {DType::kF32}).shape("beta", a.beta, {T, HV}).inner_contiguous("beta", a.beta);
  return c.status();
}

namespace {
constexpr Impl<GatingArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(gating_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = gating_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = gating_avx2},
    {.name = "cpu", .run = gating_cpu},
    {.name = "reference", .run = gating_reference},
};
}  // namespace

std::span<const Impl<GatingArgs>> gating_impls() { return kImpls; }
OpInfo gating_op_info() { return describe_op("gating", gating_impls()); }
Status gating(Context& ctx, const GatingArgs& a) { return dispatch("gating", gating_impls(), check_gating, ctx, a); }

}  // namespace sluice
