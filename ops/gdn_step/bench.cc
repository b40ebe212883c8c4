#include "ops/gdn_chunk/bench_testing.h"
#include "ops/gdn_step/cases.h"
#include "ops/gdn_step/gdn_step.h"

namespace sluice::benching {
namespace {

constexpr int64_t kWidth = 4, kRing = 16;  // Qwen3.5's convolution

Call<GdnStepArgs> make(Inputs& in, const GdnProblem& p, DType ring, double open, double closes) {
  const int64_t B = int64_t(p.lengths.size()), C = 2 * p.HK * p.K + p.HV * p.V;
  const GdnArgs a = gdn_inputs(in, p);
  const GdnStepArgs args{.qkv = in.normal(p.io, {B, C}),
                         .z = in.normal(p.io, {B, p.HV, p.V}),
                         .b = in.normal(p.io, {B, p.HV}),
                         .a = in.normal(p.io, {B, p.HV}),
                         .conv_weight = in.normal(p.io, {C, kWidth}),
                         .A_log = in.normal(p.io, {p.HV}),
                         .dt_bias = in.normal(p.io, {p.HV}),
                         .norm_weight = in.normal(p.io, {p.V}),
                         .conv_ring = in.normal(ring, {B, kRing, C}),
                         .start = a.start,
                         .slots = a.slots,
                         .state = a.state,
                         .y = a.o,
                         .scale = a.scale};
  // Weights; of each sequence W - 1 rows of history read and one written, the projections' outputs, and S with its rows.
  const double conv =
      double(args.conv_weight.bytes() + args.qkv.bytes() + args.z.bytes()) + double(B * kWidth * C) * double(dtype_size(ring));
  return {.args = args,
          .work = {.bytes = gdn_step_bytes(a, open, 1, closes) - gdn_row_bytes(a) + double(a.o.bytes()) + conv},
          .outputs = {args.y, a.state.s},
          .weights = {args.conv_weight, args.A_log, args.dt_bias, args.norm_weight},
          .state_bytes = a.state.s.bytes() + a.state.k.bytes() + a.state.u.bytes() + a.state.g.bytes() + args.conv_ring.bytes()};
}

void add_cpu(const GdnStepBenchCase& c) {
  constexpr int64_t kOpen = 31;  // half of a chunk
  const GdnProblem p{.HK = c.HK,
                     .HV = c.HV,
                     .K = c.K,
                     .V = c.V,
                     .lengths = std::vector<int64_t>(size_t(c.batch), 1),
                     .starts = std::vector<int64_t>(size_t(c.batch), kOpen)};
  bench<GdnStepArgs>({"gdn_step", std::to_string(c.batch) + "/" + heads_label(c.HK, c.HV), Where::kCpu},
                     {gdn_step_impls(), check_gdn_step}, [p](Inputs& in) { return make(in, p, DType::kF32, kOpen, 0); });
}

void add_gpu(const Heads& h, int64_t B, DType state) {
  constexpr int64_t R = kGpuOpenRows;
  const std::string label = heads_label(h.HK, h.HV) + "/" + state_label(state) + "/B" + std::to_string(B);
  bench<GdnStepArgs>({"gdn_step", label, Where::kGpu}, {gdn_step_impls(), check_gdn_step}, [=](Inputs& in) {
    const int64_t n = in.sequences(B);
    const GdnProblem p{.HK = h.HK,
                       .HV = h.HV,
                       .K = 128,
                       .V = 128,
                       .lengths = std::vector<int64_t>(size_t(n), 1),
                       .starts = std::vector<int64_t>(size_t(n), in.step(R)),
                       .io = DType::kBF16,
                       .state = state,
                       .R = R};
    auto call = make(in, p, DType::kF32, 0.5 * (R - 1), 1.0 / R);
    call.cycle = R;
    return call;
  });
}

const bool registered = [] {
  for (const GdnStepBenchCase& c : kGdnStepBenchCases) add_cpu(c);
  for (const Heads& h : kGpuDecodeHeads)
    for (const DType state : {DType::kF32, DType::kBF16})
      for (const int64_t B : kGpuDecodeBatches) add_gpu(h, B, state);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
