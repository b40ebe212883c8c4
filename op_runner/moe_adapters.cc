// Routing to experts.
#include "op_runner/op_runner.h"
#include "ops/moe_gate/moe_gate.h"
#include "ops/router_gemm/router_gemm.h"

namespace sluice {
namespace {

// logits[T, E] = hidden[T, H] weight[E, H]^T, of the types in the file and in fp32.
Status router_logits(OpCall& call, const Tensor& hidden, const Tensor& weight, const Tensor& logits) {
  return call.run(router_gemm, {.x = hidden, .w = weight, .logits = logits});
}

Status run_router(OpCall& call) {
  SLUICE_NEED(hidden, "hidden");
  SLUICE_NEED(weight, "weight");
  const int64_t T = hidden.dim(0), E = weight.dim(0), K = int64_t(call.number("top_k", 8));
  const Tensor logits = call.output("logits", DType::kF32, {T, E});
  SLUICE_RETURN_IF_ERROR(router_logits(call, hidden, weight, logits));
  return call.run(moe_gate,
                  {.logits = logits,
                   .bias = call.find("bias"),
                   .topk_weights = call.output("topk_weights", DType::kF32, {T, K}),
                   .topk_ids = call.output("topk_ids", DType::kI32, {T, K}),
                   .scoring = call.text("scoring", "sigmoid") == "softmax" ? GateScoring::kSoftmax : GateScoring::kSigmoid,
                   .top_k = K,
                   .n_group = int64_t(call.number("n_group", 1)),
                   .topk_group = int64_t(call.number("topk_group", 1)),
                   .renormalize = call.flag("renormalize", true),
                   .routed_scaling = float(call.number("routed_scaling_factor", 1)),
                   .scale_weights = true});
}

}  // namespace

std::vector<OpAdapter> moe_adapters() { return {{"router", "moe_gate", run_router, {"router_gemm"}}}; }

}  // namespace sluice
