#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_decode/cases.h"
#include "ops/gdn_decode/gdn_decode.h"

namespace sluice::benching {
namespace {

void add_cpu(const GdnDecodeCase& c, int64_t open) {
  const std::string label = heads_label(c.HK, c.HV) + "/open" + std::to_string(open);
  bench<GdnDecodeArgs>({"gdn_decode", label, Where::kCpu}, {gdn_decode_impls(), check_gdn_decode}, [c, open](Inputs& in) {
    GdnArgs a = gdn_inputs(in, {.HK = c.HK, .HV = c.HV, .K = c.K, .V = c.V, .lengths = {1}, .starts = {open}});
    a.cu_seqlens = {};
    return Call<GdnDecodeArgs>{.args = gdn_args<GdnDecodeArgs>(a), .work = {.bytes = gdn_step_bytes(a, double(open), 1, 0)}};
  });
}

// A whole cycle of steps: each has one open row more, and the last closes the chunk.
void add_gpu(const Heads& h, int64_t B, DType state) {
  constexpr int64_t R = kGpuOpenRows;
  const std::string label = heads_label(h.HK, h.HV) + "/" + state_label(state) + "/B" + std::to_string(B);
  bench<GdnDecodeArgs>({"gdn_decode", label, Where::kGpu}, {gdn_decode_impls(), check_gdn_decode}, [=](Inputs& in) {
    const int64_t n = in.sequences(B);
    GdnArgs a = gdn_inputs(in, {.HK = h.HK,
                                .HV = h.HV,
                                .K = 128,
                                .V = 128,
                                .lengths = std::vector<int64_t>(size_t(n), 1),
                                .starts = std::vector<int64_t>(size_t(n), in.step(R)),
                                .io = DType::kBF16,
                                .state = state,
                                .R = R});
    a.cu_seqlens = {};
    return Call<GdnDecodeArgs>{.args = gdn_args<GdnDecodeArgs>(a),
                               .work = {.bytes = gdn_step_bytes(a, 0.5 * (R - 1), 1, 1.0 / R)},
                               .outputs = {a.o, a.state.s},
                               .state_bytes = a.state.s.bytes() + a.state.k.bytes() + a.state.u.bytes() + a.state.g.bytes(),
                               .cycle = R,
                               .peer = "gdn_decode/" + label};
  });
}

const bool registered = [] {
  for (const GdnDecodeCase& c : kGdnDecodeBenchCases)
    for (const int64_t open : {0, 31, 62}) add_cpu(c, open);
  for (const Heads& h : kGpuDecodeHeads)
    for (const DType state : {DType::kF32, DType::kBF16})
      for (const int64_t B : kGpuDecodeBatches) add_gpu(h, B, state);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
