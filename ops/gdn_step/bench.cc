#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_step/cases.h"
#include "ops/gdn_step/gdn_step.h"

namespace sluice {
namespace {

constexpr int64_t kWidth = 4, kRing = 16, kOpen = 31;  // Qwen3.5's convolution; half of a chunk is open

const bool registered = [] {
  for (const GdnStepBenchCase& c : kGdnStepBenchCases) {
    const std::vector<int64_t> one(c.batch, 1), start(c.batch, kOpen);
    auto problem = std::make_shared<benching::GdnProblem>(c.HK, c.HV, c.K, c.V, one, start);
    const GdnArgs& a = problem->args();
    const int64_t C = 2 * c.HK * c.K + c.HV * c.V;
    const GdnStepArgs args{.qkv = problem->normal({c.batch, C}),
                           .z = problem->normal({c.batch, c.HV, c.V}),
                           .b = problem->normal({c.batch, c.HV}),
                           .a = problem->normal({c.batch, c.HV}),
                           .conv_weight = problem->normal({C, kWidth}),
                           .A_log = problem->normal({c.HV}),
                           .dt_bias = problem->normal({c.HV}),
                           .norm_weight = problem->normal({c.V}),
                           .conv_ring = problem->normal({c.batch, kRing, C}),
                           .start = a.start,
                           .slots = a.slots,
                           .state = a.state,
                           .y = a.o,
                           .scale = a.scale};
    const double conv = 4.0 * double(C * (kWidth + c.batch * (kWidth + 1)));  // weights; history, input and ring
    const std::string label = std::to_string(c.batch) + "/heads" + std::to_string(c.HK) + ":" + std::to_string(c.HV);
    benching::bench_impls("gdn_step", label, gdn_step_impls(), args,
                          {.bytes = double(c.batch) * benching::gdn_step_bytes(a, kOpen, 1) + conv}, problem);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
