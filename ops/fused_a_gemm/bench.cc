#include "ops/fused_a_gemm/cases.h"
#include "ops/fused_a_gemm/fused_a_gemm.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, int64_t tokens, const FusedACase& c, DType weights) {
  const bool scaled = weights == DType::kF8E4M3;
  const std::string label =
      std::to_string(tokens) + "x" + std::to_string(c.columns) + "x" + std::to_string(c.depth) + (scaled ? "/e4m3" : "/bf16");
  bench<FusedAGemmArgs>(
      {"fused_a_gemm", label, where}, {fused_a_gemm_impls(), check_fused_a_gemm}, [tokens, c, weights, scaled](Inputs& in) {
        FusedAGemmArgs args{.x = in.normal(DType::kBF16, {tokens, c.depth}), .w = in.normal(weights, {c.columns, c.depth})};
        if (scaled)
          args.w_scale = in.normal(DType::kF32, {(c.columns + 127) / 128, (c.depth + 127) / 128},
                                   [](float x) { return 0.01f * (1 + std::abs(x)); });
        args.y = in.output(DType::kBF16, {tokens, c.columns});
        const double bytes = double(args.x.bytes() + args.w.bytes() + args.y.bytes()) + (scaled ? double(args.w_scale.bytes()) : 0);
        return Call<FusedAGemmArgs>{.args = args,
                                    .work = {.bytes = bytes, .flops = 2.0 * double(tokens) * double(args.w.numel())},
                                    .outputs = {args.y},
                                    .weights = {args.w, args.w_scale},
                                    .limit = 4e-3};
      });
}

const bool registered = [] {
  for (const FusedACase& c : kFusedAPublished)
    for (const DType weights : {DType::kBF16, DType::kF8E4M3})
      for (const int64_t tokens : kFusedABenchTokens)
        add(tokens == 1 && c.columns == 2112 ? Where::kBoth : Where::kGpu, tokens, c, weights);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
