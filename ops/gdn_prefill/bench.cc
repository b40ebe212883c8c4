#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_prefill/cases.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const GdnPrefillCase& c : kGdnPrefillBenchCases) {
    auto problem = std::make_shared<benching::GdnProblem>(c.HK, c.HV, c.K, c.V, c.lengths, c.starts);
    GdnPrefillArgs args;
    static_cast<GdnArgs&>(args) = problem->args();
    const std::string label = std::to_string(c.lengths.size()) + "x" + std::to_string(c.lengths[0]) + "/heads" +
                              std::to_string(c.HK) + ":" + std::to_string(c.HV);
    benching::bench_impls("gdn_prefill", label, gdn_prefill_impls(), args, {.flops = benching::gdn_prefill_flops(args)}, problem);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
