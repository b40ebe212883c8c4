#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_decode_classic/cases.h"
#include "ops/gdn_decode_classic/gdn_decode_classic.h"

namespace sluice::benching {
namespace {

void add(Where where, const GdnProblem& p) {
  const std::string label = heads_label(p.HK, p.HV) + "/" + state_label(p.state) + "/B" + std::to_string(p.lengths.size());
  bench<GdnDecodeClassicArgs>(
      {"gdn_decode_classic", label, where}, {gdn_decode_classic_impls(), check_gdn_decode_classic}, [p, label](Inputs& in) {
        const GdnArgs a = gdn_inputs(in, p);
        return Call<GdnDecodeClassicArgs>{.args = {.q = a.q,
                                                   .k = a.k,
                                                   .v = a.v,
                                                   .log_g = a.log_g,
                                                   .beta = a.beta,
                                                   .slots = a.slots,
                                                   .state = a.state.s,
                                                   .o = a.o,
                                                   .scale = a.scale,
                                                   .qk_l2norm = true},
                                          .work = {.bytes = gdn_row_bytes(a) + 2 * double(a.state.s.bytes())},
                                          .outputs = {a.o, a.state.s},
                                          .state_bytes = a.state.s.bytes(),
                                          .peer = "gdn_decode/" + label};
      });
}

const bool registered = [] {
  for (const GdnDecodeClassicCase& c : kGdnDecodeClassicBenchCases)
    add(Where::kCpu, {.HK = c.HK, .HV = c.HV, .K = c.K, .V = c.V, .lengths = std::vector<int64_t>(size_t(c.batch), 1)});
  for (const Heads& h : kGpuDecodeHeads)
    for (const DType state : {DType::kF32, DType::kBF16})
      for (const int64_t B : kGpuDecodeBatches)
        add(Where::kGpu, {.HK = h.HK,
                          .HV = h.HV,
                          .K = 128,
                          .V = 128,
                          .lengths = std::vector<int64_t>(size_t(B), 1),
                          .io = DType::kBF16,
                          .state = state});
  return true;
}();

}  // namespace
}  // namespace sluice::benching
