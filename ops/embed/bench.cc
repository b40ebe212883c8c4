#include "ops/embed/cases.h"
#include "ops/embed/embed.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<Bf16> table;
  std::vector<int32_t> ids;
  std::vector<float> out;
};

const bool registered = [] {
  for (const EmbedCase& c : kEmbedBenchCases) {
    auto m = std::make_shared<Memory>();
    m->table.assign(c.vocab * c.dim, Bf16(0.5f)), m->out.resize(c.tokens * c.dim);
    for (int64_t t = 0; t < c.tokens; ++t) m->ids.push_back(int32_t(t * 7919 % c.vocab));  // far apart, as tokens are
    const EmbedArgs args{.ids = Tensor::of(m->ids.data(), {c.tokens}),
                         .table = Tensor::of(m->table.data(), {c.vocab, c.dim}),
                         .out = Tensor::of(m->out.data(), {c.tokens, c.dim})};
    benching::bench_impls("embed", std::to_string(c.tokens) + "x" + std::to_string(c.dim), embed_impls(), args,
                          {.bytes = 6.0 * double(c.tokens * c.dim)}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
