#include "core/alignment.h"
#include "core/check.h"
#include "ops/state_quant/forms.h"

namespace sluice {

Status check_state_quant(const StateQuantArgs& a) {
  ArgCheck c("state_quant");
  c.rank("x", a.x, 3, 3).dtype("x", a.x, {DType::kF32}).inner_contiguous("x", a.x);
  const int64_t N = a.x.shape[0], R = a.x.shape[1], D = a.x.shape[2];
  c.that(D % 16 == 0, "rows must have a multiple of 16 values");
  c.dtype("q", a.q, {DType::kI8}).shape("q", a.q, {N, R, D}).inner_contiguous("q", a.q);
  c.dtype("scale", a.scale, {DType::kF32}).shape("scale", a.scale, {N, R}).inner_contiguous("scale", a.scale);
  c.dtype("error", a.error, {DType::kF32}).shape("error", a.error, {N}).inner_contiguous("error", a.error);
  return c.status();
}

namespace {
Can rows_of_kernel(const StateQuantArgs& a) {
  if (a.x.dim(2) > 256) return Can::no("rows must have at most 256 values");
  return rows_aligned(a.x, 16) && rows_aligned(a.q, 4) ? Can{} : Can::no("rows must begin at multiples of 16 bytes, codes of 4");
}

constexpr Impl<StateQuantArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = rows_of_kernel, .run = SLUICE_CUDA_FORM(state_quant_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = state_quant_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = state_quant_avx2},
    {.name = "cpu", .run = state_quant_cpu},
    {.name = "reference", .run = state_quant_reference},
};
}  // namespace

std::span<const Impl<StateQuantArgs>> state_quant_impls() { return kImpls; }
OpInfo state_quant_op_info() { return describe_op("state_quant", state_quant_impls()); }
Status state_quant(Context& ctx, const StateQuantArgs& a) {
  return dispatch("state_quant", state_quant_impls(), check_state_quant, ctx, a);
}

}  // namespace sluice
