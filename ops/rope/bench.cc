#include "ops/rope/cases.h"
#include "ops/rope/rope.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> q, k;
  std::vector<Bf16> q_out, k_out;
  std::vector<int32_t> positions;
  std::vector<double> frequencies;
};

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
    benching::bench_impls("rope", std::to_string(T) + "x" + std::to_string(HQ + HK) + "x" + std::to_string(D), rope_impls(), args,
                          {.bytes = 6 * heads * double(D), .flops = 3 * heads * double(c.rotary_dim)}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
