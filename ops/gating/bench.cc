#include "ops/gating/cases.h"
#include "ops/gating/gating.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const GatingCase& c, DType dtype) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.heads) + (dtype == DType::kF32 ? "" : "/bf16");
  bench<GatingArgs>({"gating", label, where}, {gating_impls(), check_gating}, [c, dtype](Inputs& in) {
    const int64_t T = c.tokens, HV = c.heads;
    const GatingArgs args{.a = in.normal(dtype, {T, HV}),
                          .b = in.normal(dtype, {T, HV}),
                          .A_log = in.normal(DType::kF32, {HV}),
                          .dt_bias = in.normal(DType::kF32, {HV}),
                          .log_g = in.output(DType::kF32, {T, HV}),
                          .beta = in.output(DType::kF32, {T, HV})};
    return Call<GatingArgs>{.args = args,
                            .work = {.bytes = 2.0 * double(args.a.bytes() + args.log_g.bytes()), .flops = 60.0 * double(T * HV)},
                            .outputs = {args.log_g, args.beta},
                            .limit = 1e-5};
  });
}

const bool registered = [] {
  for (const GatingCase& c : kGatingBenchCases) add(Where::kBoth, c, DType::kF32);
  for (const int64_t tokens : {64, 8192}) add(Where::kGpu, {tokens, 64}, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
