#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_verify/cases.h"
#include "ops/gdn_verify/gdn_verify.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const GdnVerifyCase& c : kGdnVerifyBenchCases) {
    auto problem =
        std::make_shared<benching::GdnProblem>(c.HK, c.HV, c.K, c.V, std::vector<int64_t>{c.rows}, std::vector<int64_t>{c.open});
    GdnVerifyArgs args;
    static_cast<GdnArgs&>(args) = problem->args();
    const std::string label = "heads" + std::to_string(c.HK) + ":" + std::to_string(c.HV) + "/rows" + std::to_string(c.rows);
    benching::bench_impls("gdn_verify", label, gdn_verify_impls(), args, {.bytes = benching::gdn_step_bytes(args, c.open, c.rows)},
                          problem);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
