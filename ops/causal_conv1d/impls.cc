#include "core/check.h"
#include "ops/causal_conv1d/causal_conv1d.h"
#include "ops/causal_conv1d/forms.h"
#include "ops/causal_conv1d/sequences.h"

namespace sluice {

Status check_causal_conv1d(const CausalConv1dArgs& a) {
  const auto floats = {DType::kF32, DType::kBF16};
  ArgCheck c("causal_conv1d");
  c.rank("x", a.x, 2, 2).dtype("x", a.x, floats).inner_contiguous("x", a.x);
  c.rank("weight", a.weight, 2, 2).dtype("weight", a.weight, floats);
  const int64_t T = a.x.shape[0], C = a.x.shape[1], W = a.weight.shape[1];
  c.that(W >= 2 && W <= 4, "weight has a width outside 2 to 4").shape("weight", a.weight, {C, W});
  c.that(a.weight.contiguous(), "weight must be dense");
  if (a.bias.present()) c.dtype("bias", a.bias, floats).shape("bias", a.bias, {C}).inner_contiguous("bias", a.bias);
  c.rank("conv_state", a.conv_state, 3, 3).dtype("conv_state", a.conv_state, floats);
  c.shape("conv_state", a.conv_state, {a.conv_state.shape[0], C, W - 1});
  c.dtype("y", a.y, floats).shape("y", a.y, {T, C}).inner_contiguous("y", a.y);
  if (a.step_states.present()) {
    c.dtype("step_states", a.step_states, {a.conv_state.dtype}).shape("step_states", a.step_states, {T, C, W - 1});
  }
  check_sequences(c, a.cu_seqlens, a.slots, T, a.conv_state.shape[0]);
  if (a.has_state.present()) {
    c.dtype("has_state", a.has_state, {DType::kI32}).shape("has_state", a.has_state, {a.slots.shape[0]});
    c.inner_contiguous("has_state", a.has_state);
  }
  return c.status();
}

namespace {
constexpr Impl<CausalConv1dArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(causal_conv1d_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = causal_conv1d_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = causal_conv1d_avx2},
    {.name = "cpu", .run = causal_conv1d_cpu},
    {.name = "reference", .run = causal_conv1d_reference},
};
}  // namespace

std::span<const Impl<CausalConv1dArgs>> causal_conv1d_impls() { return kImpls; }
OpInfo causal_conv1d_op_info() { return describe_op("causal_conv1d", causal_conv1d_impls()); }
Status causal_conv1d(Context& ctx, const CausalConv1dArgs& a) {
  return dispatch("causal_conv1d", causal_conv1d_impls(), check_causal_conv1d, ctx, a);
}

}  // namespace sluice
