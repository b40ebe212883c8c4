#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_decode/cases.h"
#include "ops/gdn_decode/gdn_decode.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const GdnDecodeCase& c : kGdnDecodeBenchCases)
    for (const int64_t open : {0, 31, 62}) {
      auto problem =
          std::make_shared<benching::GdnProblem>(c.HK, c.HV, c.K, c.V, std::vector<int64_t>{1}, std::vector<int64_t>{open});
      GdnDecodeArgs args;
      static_cast<GdnArgs&>(args) = problem->args();
      args.cu_seqlens = {};
      const std::string label = "heads" + std::to_string(c.HK) + ":" + std::to_string(c.HV) + "/open" + std::to_string(open);
      benching::bench_impls("gdn_decode", label, gdn_decode_impls(), args, {.bytes = benching::gdn_step_bytes(args, open, 1)},
                            problem);
    }
  return true;
}();

}  // namespace
}  // namespace sluice
