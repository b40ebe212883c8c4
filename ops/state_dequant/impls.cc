#include "core/alignment.h"
#include "core/check.h"
#include "ops/state_dequant/forms.h"

namespace sluice {

Status check_state_dequant(const StateDequantArgs& a) {
  ArgCheck c("state_dequant");
  c.rank("q", a.q, 3, 3).dtype("q", a.q, {DType::kI8}).inner_contiguous("q", a.q);
  const int64_t N = a.q.shape[0], R = a.q.shape[1], D = a.q.shape[2];
  c.that(D % 16 == 0, "rows must have a multiple of 16 values");
  c.dtype("scale", a.scale, {DType::kF32}).shape("scale", a.scale, {N, R}).inner_contiguous("scale", a.scale);
  c.dtype("x", a.x, {DType::kF32}).shape("x", a.x, {N, R, D}).inner_contiguous("x", a.x);
  return c.status();
}

namespace {
Can rows_of_kernel(const StateDequantArgs& a) {
  return rows_aligned(a.x, 16) && rows_aligned(a.q, 4) ? Can{} : Can::no("rows must begin at multiples of 16 bytes, codes of 4");
}

constexpr Impl<StateDequantArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = rows_of_kernel, .run = SLUICE_CUDA_FORM(state_dequant_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = state_dequant_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = state_dequant_avx2},
    {.name = "cpu", .run = state_dequant_cpu},
    {.name = "reference", .run = state_dequant_reference},
};
}  // namespace

std::span<const Impl<StateDequantArgs>> state_dequant_impls() { return kImpls; }
OpInfo state_dequant_op_info() { return describe_op("state_dequant", state_dequant_impls()); }
Status state_dequant(Context& ctx, const StateDequantArgs& a) {
  return dispatch("state_dequant", state_dequant_impls(), check_state_dequant, ctx, a);
}

}  // namespace sluice
