#include "ops/embed/cases.h"
#include "ops/embed/embed.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

const bool registered = [] {
  for (const EmbedCase& c : kEmbedBenchCases)
    bench<EmbedArgs>({"embed", std::to_string(c.tokens) + "x" + std::to_string(c.dim), Where::kBoth}, {embed_impls(), check_embed},
                     [c](Inputs& in) {
                       std::vector<int32_t> ids;
                       for (int64_t t = 0; t < c.tokens; ++t)
                         ids.push_back(int32_t(t * 7919 % c.vocab));  // far apart, as tokens are
                       const EmbedArgs args{.ids = in.ints(ids),
                                            .table = in.normal(DType::kBF16, {c.vocab, c.dim}),
                                            .out = in.output(DType::kF32, {c.tokens, c.dim})};
                       return Call<EmbedArgs>{
                           .args = args, .work = {.bytes = 6.0 * double(c.tokens * c.dim)}, .outputs = {args.out}};
                     });
  return true;
}();

}  // namespace
}  // namespace sluice::benching
