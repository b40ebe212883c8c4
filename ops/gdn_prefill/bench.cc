#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_prefill/cases.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice::benching {
namespace {

std::string sequences_label(const std::vector<int64_t>& lengths) {
  for (const int64_t n : lengths)
    if (n != lengths[0]) return "mixed";
  return std::to_string(lengths.size()) + "x" + std::to_string(lengths[0]);
}

void add(Where where, const GdnProblem& p) {
  const std::string label = heads_label(p.HK, p.HV) + "/" + sequences_label(p.lengths);
  bench<GdnPrefillArgs>({"gdn_prefill", label, where}, {gdn_prefill_impls(), check_gdn_prefill}, [p, where, label](Inputs& in) {
    const GdnArgs a = gdn_inputs(in, p);
    const double flops = where == Where::kGpu ? gdn_prefill_tile_flops(a) : gdn_prefill_flops(a);
    return Call<GdnPrefillArgs>{.args = gdn_args<GdnPrefillArgs>(a),
                                .work = {.bytes = gdn_row_bytes(a) + 2 * double(a.state.s.bytes()), .flops = flops},
                                .outputs = {a.o, a.state.s},
                                .state_bytes = a.state.s.bytes(),
                                .peer = "gdn_prefill/" + label};
  });
}

// On a GPU: heads of published models and their parts on 2 to 8 cards, by batches from one long prompt to many short ones.
constexpr Heads kHeads[] = {{2, 8}, {4, 16}, {8, 32}, {16, 64}, {16, 32}, {16, 48}, {16, 16}};
const std::vector<std::vector<int64_t>> kSequences = {
    {2048},
    {8192},
    {32768},
    std::vector<int64_t>(8, 1024),
    std::vector<int64_t>(8, 4096),
    std::vector<int64_t>(64, 256),
    {113, 1921, 64, 3000, 5, 777, 8192, 2048},
};

// The sweep that serving reports use: as many key as value heads, short prompts in batches.
struct Sweep {
  int64_t batch, tokens;
};
constexpr Sweep kSweep[] = {{4, 256}, {16, 256}, {32, 256}, {64, 256}, {128, 256}, {4, 1024}, {32, 1024}};

const bool registered = [] {
  for (const GdnPrefillCase& c : kGdnPrefillBenchCases)
    add(Where::kCpu, {.HK = c.HK, .HV = c.HV, .K = c.K, .V = c.V, .lengths = c.lengths, .starts = c.starts});
  const auto on_gpu = [](int64_t HK, int64_t HV, const std::vector<int64_t>& lengths) {
    add(Where::kGpu, {.HK = HK, .HV = HV, .K = 128, .V = 128, .lengths = lengths, .io = DType::kBF16});
  };
  for (const Heads& h : kHeads)
    for (const auto& lengths : kSequences) on_gpu(h.HK, h.HV, lengths);
  for (const int64_t H : {16, 32})
    for (const Sweep& s : kSweep)
      if (H != 16 || s.batch != 64) on_gpu(H, H, std::vector<int64_t>(size_t(s.batch), s.tokens));  // 16,16/64x256 is above
  return true;
}();

}  // namespace
}  // namespace sluice::benching
