#include "ops/rope/cases.h"
#include "ops/rope/rope.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

struct Memory {
  std::vector<float> q, k;
  std::vector<Bf16> q_out, k_out;
  std::vector<int32_t> positions;
  std::vector<double> frequencies;
};

std::string label_of(const RopeCase& c) {
  return std::to_string(c.tokens) + "x" + std::to_string(c.q_heads + c.k_heads) + "x" + std::to_string(c.dim);
}

void add_bf16(const RopeCase& c) {
  bench<RopeArgs>({"rope", label_of(c) + "/bf16", Where::kGpu}, {rope_impls(), check_rope}, [c](Inputs& in) {
    const Tensor q = in.normal(DType::kBF16, {c.tokens, c.q_heads, c.dim}),
                 k = in.normal(DType::kBF16, {c.tokens, c.k_heads, c.dim});
    const Tensor q_out = in.output(DType::kBF16, {c.tokens, c.q_heads, c.dim}),
                 k_out = in.output(DType::kBF16, {c.tokens, c.k_heads, c.dim});
    const RopeArgs args{.q = q,
                        .k = k,
                        .positions = in.count(c.tokens),
                        .inv_freq = in.of(rope_frequencies(1e7, int(c.rotary_dim))),
                        .q_out = q_out,
                        .k_out = k_out};
    return Call<RopeArgs>{.args = args,
                          .work = {.bytes = 2.0 * double(q.bytes() + k.bytes()),
                                   .flops = 3.0 * double(c.tokens * (c.q_heads + c.k_heads) * c.rotary_dim)},
                          .outputs = {q_out, k_out},
                          .weights = {args.inv_freq}};
  });
}

const bool registered = [] {
  for (const RopeCase& c : kRopeBenchCases) {
    const int64_t T = c.tokens, HQ = c.q_heads, HK = c.k_heads, D = c.dim;
    auto m = std::make_shared<Memory>();
    m->q.assign(T * HQ * D, 0.5f), m->k.assign(T * HK * D, 0.5f), m->q_out.resize(T * HQ * D), m->k_out.resize(T * HK * D);
    for (int64_t t = 0; t < T; ++t) m->positions.push_back(int32_t(t));
    m->frequencies = rope_frequencies(1e7, int(c.rotary_dim));
    const RopeArgs args{.q = Tensor::of(m->q.data(), {T, HQ, D}),
                        .k = Tensor::of(m->k.data(), {T, HK, D}),
                        .positions = Tensor::of(m->positions.data(), {T}),
                        .inv_freq = Tensor::of(m->frequencies.data(), {c.rotary_dim / 2}),
                        .q_out = Tensor::of(m->q_out.data(), {T, HQ, D}),
                        .k_out = Tensor::of(m->k_out.data(), {T, HK, D})};
    const double heads = double(T * (HQ + HK));
    bench_impls("rope", label_of(c), rope_impls(), args,
                {.bytes = 6 * heads * double(D), .flops = 3 * heads * double(c.rotary_dim)}, m);
  }
  for (const RopeCase& c : kRopeGpuBenchCases) add_bf16(c);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
