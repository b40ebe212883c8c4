#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_verify/cases.h"
#include "ops/gdn_verify/gdn_verify.h"

namespace sluice::benching {
namespace {

void add_cpu(const GdnVerifyCase& c) {
  const std::string label = heads_label(c.HK, c.HV) + "/rows" + std::to_string(c.rows);
  bench<GdnVerifyArgs>({"gdn_verify", label, Where::kCpu}, {gdn_verify_impls(), check_gdn_verify}, [c](Inputs& in) {
    const GdnArgs a = gdn_inputs(in, {.HK = c.HK, .HV = c.HV, .K = c.K, .V = c.V, .lengths = {c.rows}, .starts = {c.open}});
    return Call<GdnVerifyArgs>{.args = gdn_args<GdnVerifyArgs>(a),
                               .work = {.bytes = gdn_step_bytes(a, double(c.open), double(c.rows), 0)}};
  });
}

// Drafts of four rows, over all places that they can have in a chunk.
void add_gpu(const Heads& h, int64_t B) {
  constexpr int64_t R = kGpuOpenRows, kRows = 4;
  const std::string label = heads_label(h.HK, h.HV) + "/fp32/rows4/B" + std::to_string(B);
  bench<GdnVerifyArgs>({"gdn_verify", label, Where::kGpu}, {gdn_verify_impls(), check_gdn_verify}, [=](Inputs& in) {
    const int64_t n = in.sequences(B);
    const int64_t start = kRows * in.step(R / kRows);
    const GdnArgs a = gdn_inputs(in, {.HK = h.HK,
                                      .HV = h.HV,
                                      .K = 128,
                                      .V = 128,
                                      .lengths = std::vector<int64_t>(size_t(n), kRows),
                                      .starts = std::vector<int64_t>(size_t(n), start),
                                      .io = DType::kBF16,
                                      .R = R});
    return Call<GdnVerifyArgs>{.args = gdn_args<GdnVerifyArgs>(a),
                               .work = {.bytes = gdn_step_bytes(a, 0.5 * (R - kRows), kRows, 0)},
                               .outputs = {a.o},
                               .state_bytes = a.state.s.bytes() + a.state.k.bytes() + a.state.u.bytes() + a.state.g.bytes(),
                               .cycle = R / kRows};
  });
}

const bool registered = [] {
  for (const GdnVerifyCase& c : kGdnVerifyBenchCases) add_cpu(c);
  for (const Heads& h : kGpuDecodeHeads)
    for (const int64_t B : kGpuDecodeBatches) add_gpu(h, B);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
