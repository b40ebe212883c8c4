#include "ops/qkv_conv_split/cases.h"
#include "ops/qkv_conv_split/qkv_conv_split.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int64_t kDim = 128, kWidth = 4, kRing = 16;

struct Shape {
  int64_t HK, HV, sequences, tokens;
  DType in, out;
  bool strided = false;  // qkv, b and a are parts of one projection's rows: q, k, v, z, b, a
};

struct Projection {
  Tensor qkv, b, a;
};

Projection project(Inputs& in, const Shape& s, int64_t T, int64_t C) {
  if (!s.strided) return {in.normal(s.in, {T, C}), in.normal(s.in, {T, s.HV}), in.normal(s.in, {T, s.HV})};
  const int64_t b = C + s.HV * kDim, a = b + s.HV, end = a + s.HV;
  const Tensor row = in.normal(s.in, {T, end});
  return {row.slice(1, 0, C), row.slice(1, b, a), row.slice(1, a, end)};
}

void add(Where where, const std::string& label, const Shape& s) {
  bench<QkvConvSplitArgs>({"qkv_conv_split", label, where}, {qkv_conv_split_impls(), check_qkv_conv_split}, [s](Inputs& in) {
    const int64_t B = s.sequences, T = B * s.tokens, C = (2 * s.HK + s.HV) * kDim;
    const DType f = DType::kF32, ring = s.out;  // a GPU's ring holds bf16 rows as they came
    std::vector<int32_t> cu;
    for (int64_t b = 0; b <= B; ++b) cu.push_back(int32_t(b * s.tokens));
    const Projection x = project(in, s, T, C);
    const QkvConvSplitArgs args{.qkv = x.qkv,
                                .b = x.b,
                                .a = x.a,
                                .weight = in.normal(s.in, {C, kWidth}),
                                .A_log = in.normal(s.in, {s.HV}),
                                .dt_bias = in.normal(s.in, {s.HV}),
                                .conv_ring = in.normal(ring, {B, kRing, C}),
                                .cu_seqlens = in.ints(cu),
                                .start = in.ints(std::vector<int32_t>(size_t(B), 100)),
                                .slots = in.count(B),
                                .q = in.output(s.out, {T, s.HK, kDim}),
                                .k = in.output(s.out, {T, s.HK, kDim}),
                                .v = in.output(s.out, {T, s.HV, kDim}),
                                .log_g = in.output(f, {T, s.HV}),
                                .beta = in.output(f, {T, s.HV})};
    const int64_t ring_rows = B * (kWidth - 1 + std::min(s.tokens, kRing));  // read, written
    const double bytes = double(args.qkv.bytes() + args.a.bytes() + args.b.bytes() + args.weight.bytes() + args.q.bytes() +
                                args.k.bytes() + args.v.bytes() + args.log_g.bytes() + args.beta.bytes()) +
                         double(ring_rows * C) * double(dtype_size(ring));
    return Call<QkvConvSplitArgs>{.args = args,
                                  .work = {.bytes = bytes, .flops = 2.0 * kWidth * double(T * C)},
                                  .outputs = {args.q, args.k, args.v, args.log_g, args.beta, args.conv_ring},
                                  .weights = {args.weight, args.A_log, args.dt_bias},
                                  .limit = 4e-3,
                                  .state_bytes = args.conv_ring.bytes()};
  });
}

const bool registered = [] {
  for (const QkvConvSplitBenchCase& c : kQkvConvSplitBenchCases)  // Qwen3.5-0.8B
    add(Where::kCpu, std::to_string(c.sequences) + "x" + std::to_string(c.tokens) + "/" + std::string(dtype_name(c.dtype)),
        {16, 16, c.sequences, c.tokens, c.dtype, DType::kF32});
  const DType bf16 = DType::kBF16;
  for (const int64_t HV : {16, 32, 48, 64})
    for (const auto& [sequences, tokens] : {std::pair<int64_t, int64_t>{1, 8192}, {8, 1024}, {64, 256}, {64, 1}, {256, 1}})
      for (const bool strided : {false, true})
        add(Where::kGpu,
            "16," + std::to_string(HV) + "/" + std::to_string(sequences) + "x" + std::to_string(tokens) +
                (strided ? "/strided" : ""),
            {16, HV, sequences, tokens, bf16, bf16, strided});
  return true;
}();

}  // namespace
}  // namespace sluice::benching
