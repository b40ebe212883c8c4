#include "ops/router_gemm/cases.h"
#include "ops/router_gemm/router_gemm.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, int64_t tokens, const RouterCase& c, DType weights) {
  const std::string label = std::to_string(tokens) + "x" + std::to_string(c.experts) + "x" + std::to_string(c.depth) +
                            (weights == DType::kF32 ? "/f32" : "/bf16");
  bench<RouterGemmArgs>({"router_gemm", label, where}, {router_gemm_impls(), check_router_gemm}, [tokens, c, weights](Inputs& in) {
    const Tensor x = in.normal(DType::kBF16, {tokens, c.depth}), w = in.normal(weights, {c.experts, c.depth});
    const Tensor logits = in.output(DType::kF32, {tokens, c.experts});
    return Call<RouterGemmArgs>{
        .args = {.x = x, .w = w, .logits = logits},
        .work = {.bytes = double(x.bytes() + w.bytes() + logits.bytes()), .flops = 2.0 * double(tokens) * double(w.numel())},
        .outputs = {logits},
        .weights = {w},
        .limit = 1e-5};
  });
}

const bool registered = [] {
  for (const RouterCase& c : kRouterPublished)
    for (const int64_t tokens : kRouterBenchTokens)
      add(tokens == 1 && c.experts == 256 ? Where::kBoth : Where::kGpu, tokens, c, DType::kBF16);
  for (const int64_t tokens : {1, 16}) add(Where::kGpu, tokens, {1, 256, 6144}, DType::kF32);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
