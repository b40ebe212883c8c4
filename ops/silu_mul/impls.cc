#include "core/check.h"
#include "ops/silu_mul/forms.h"
#include "ops/silu_mul/silu_mul.h"

namespace sluice {

Status check_silu_mul(const SiluMulArgs& a) {
  const auto& s = a.gate.shape;
  ArgCheck c("silu_mul");
  c.rank("gate", a.gate, 2, 2).dtype("gate", a.gate, {DType::kF32, DType::kBF16}).inner_contiguous("gate", a.gate);
  c.dtype("up", a.up, {a.gate.dtype}).shape("up", a.up, {s[0], s[1]}).inner_contiguous("up", a.up);
  c.dtype("y", a.y, {DType::kF32, DType::kBF16}).shape("y", a.y, {s[0], s[1]}).inner_contiguous("y", a.y);
  return c.status();
}

namespace {
constexpr Impl<SiluMulArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(silu_mul_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = silu_mul_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = silu_mul_avx2},
    {.name = "cpu", .run = silu_mul_cpu},
    {.name = "reference", .run = silu_mul_reference},
};
}  // namespace

std::span<const Impl<SiluMulArgs>> silu_mul_impls() { return kImpls; }
OpInfo silu_mul_op_info() { return describe_op("silu_mul", silu_mul_impls()); }
Status silu_mul(Context& ctx, const SiluMulArgs& a) { return dispatch("silu_mul", silu_mul_impls(), check_silu_mul, ctx, a); }

}  // namespace sluice
