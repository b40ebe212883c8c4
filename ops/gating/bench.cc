#include "ops/gating/cases.h"
#include "ops/gating/gating.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const GatingCase& c : kGatingBenchCases) {
    const int64_t T = c.tokens, HV = c.heads;
    auto memory = std::make_shared<std::vector<float>>(4 * T * HV + 2 * HV, 0.5f);
    float* p = memory->data();
    const auto matrix = [&](int i) { return Tensor::of(p + i * T * HV, {T, HV}); };
    const auto vector = [&](int i) { return Tensor::of(p + 4 * T * HV + i * HV, {HV}); };
    const GatingArgs args{
        .a = matrix(0), .b = matrix(1), .A_log = vector(0), .dt_bias = vector(1), .log_g = matrix(2), .beta = matrix(3)};
    const double n = double(T * HV);
    benching::bench_impls("gating", std::to_string(T) + "x" + std::to_string(HV), gating_impls(), args,
                          {.bytes = 16 * n, .flops = 60 * n}, memory);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
