#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_decode_classic/cases.h"
#include "ops/gdn_decode_classic/gdn_decode_classic.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const GdnDecodeClassicCase& c : kGdnDecodeClassicBenchCases) {
    const std::vector<int64_t> one(c.batch, 1), start(c.batch, 0);
    auto problem = std::make_shared<benching::GdnProblem>(c.HK, c.HV, c.K, c.V, one, start);
    const GdnArgs& a = problem->args();
    const GdnDecodeClassicArgs args{.q = a.q,
                                    .k = a.k,
                                    .v = a.v,
                                    .log_g = a.log_g,
                                    .beta = a.beta,
                                    .slots = a.slots,
                                    .state = a.state.s,
                                    .o = a.o,
                                    .scale = a.scale,
                                    .qk_l2norm = true};
    const std::string label = std::to_string(c.batch) + "/heads" + std::to_string(c.HK) + ":" + std::to_string(c.HV);
    benching::bench_impls("gdn_decode_classic", label, gdn_decode_classic_impls(), args, {.bytes = 2 * double(args.state.bytes())},
                          problem);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
