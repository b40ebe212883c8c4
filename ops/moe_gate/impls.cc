#include "core/check.h"
#include "ops/moe_gate/forms.h"
#include "ops/moe_gate/moe_gate.h"

namespace sluice {

Status check_moe_gate(const MoeGateArgs& a) {
  ArgCheck c("moe_gate");
  c.rank("logits", a.logits, 2, 2).dtype("logits", a.logits, {DType::kF32, DType::kBF16}).inner_contiguous("logits", a.logits);
  const int64_t T = a.logits.shape[0], E = a.logits.shape[1], K = a.top_k + a.shared_expert;
  c.that(E >= 1 && E <= MoeGateArgs::kMostExperts, "logits has no experts or more than 1024");
  if (a.bias.present()) c.dtype("bias", a.bias, {DType::kF32}).shape("bias", a.bias, {E}).inner_contiguous("bias", a.bias);
  c.that(a.n_group >= 1 && E % a.n_group == 0, "n_group must divide the number of experts");
  c.that(a.topk_group >= 1 && a.topk_group <= a.n_group, "topk_group must be 1 to n_group");
  c.that(a.top_k >= 1 && a.top_k <= MoeGateArgs::kMostChosen, "top_k must be 1 to 32");
  if (c.status().ok() && a.top_k > E / a.n_group * a.topk_group) {
    const std::string what = "top_k is " + std::to_string(a.top_k) + ", and " + std::to_string(a.topk_group) + " of " +
                             std::to_string(a.n_group) + " groups have " + std::to_string(E / a.n_group * a.topk_group) +
                             " experts";
    c.that(false, what.c_str());
  }
  c.that(!a.shared_expert || a.scale_weights || a.routed_scaling != 0, "routed_scaling is 0: a shared expert's weight is 1 / it");
  c.dtype("topk_weights", a.topk_weights, {DType::kF32})
      .shape("topk_weights", a.topk_weights, {T, K})
      .inner_contiguous("topk_weights", a.topk_weights);
  c.dtype("topk_ids", a.topk_ids, {DType::kI32}).shape("topk_ids", a.topk_ids, {T, K}).inner_contiguous("topk_ids", a.topk_ids);
  return c.status();
}

namespace {
constexpr Impl<MoeGateArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(moe_gate_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = moe_gate_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = moe_gate_avx2},
    {.name = "cpu", .run = moe_gate_cpu},
    {.name = "reference", .run = moe_gate_reference},
};
}  // namespace

std::span<const Impl<MoeGateArgs>> moe_gate_impls() { return kImpls; }
OpInfo moe_gate_op_info() { return describe_op("moe_gate", moe_gate_impls()); }
Status moe_gate(Context& ctx, const MoeGateArgs& a) { return dispatch("moe_gate", moe_gate_impls(), check_moe_gate, ctx, a); }

}  // namespace sluice
