#include "ops/moe_gate/cases.h"
#include "ops/moe_gate/moe_gate.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const MoeGateCase& c, int64_t tokens, DType dtype) {
  const std::string label = std::to_string(tokens) + "x" + std::to_string(c.experts) + "/" + std::to_string(c.top_k) +
                            (c.n_group > 1 ? "/groups" : "") + (dtype == DType::kF32 ? "" : "/bf16");
  bench<MoeGateArgs>({"moe_gate", label, where}, {moe_gate_impls(), check_moe_gate}, [=](Inputs& in) {
    const Tensor logits = in.normal(dtype, {tokens, c.experts}), bias = in.normal(DType::kF32, {c.experts});
    const MoeGateArgs args{.logits = logits,
                           .bias = c.scoring == GateScoring::kSigmoid ? bias : Tensor(),
                           .topk_weights = in.output(DType::kF32, {tokens, c.top_k}),
                           .topk_ids = in.output(DType::kI32, {tokens, c.top_k}),
                           .scoring = c.scoring,
                           .top_k = c.top_k,
                           .n_group = c.n_group,
                           .topk_group = c.topk_group,
                           .routed_scaling = 2.5f};
    const double scores = double(logits.numel());
    return Call<MoeGateArgs>{
        .args = args,
        .work = {.bytes = double(logits.bytes() + args.topk_weights.bytes() + args.topk_ids.bytes()), .flops = 25 * scores},
        .outputs = {args.topk_weights, args.topk_ids},
        .weights = {bias},
        .limit = 0};
  });
}

const bool registered = [] {
  for (const MoeGateCase& c : kMoeGateModels)
    for (const int64_t tokens : kMoeGateBenchTokens) add(tokens == 512 ? Where::kBoth : Where::kGpu, c, tokens, DType::kF32);
  add(Where::kGpu, kMoeGateModels[0], 40000, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
