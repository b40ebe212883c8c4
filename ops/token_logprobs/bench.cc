#include "ops/token_logprobs/cases.h"
#include "ops/token_logprobs/token_logprobs.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

const bool registered = [] {
  for (const TokenLogprobsCase& c : kTokenLogprobsBenchCases) {
    const std::string label = std::to_string(c.rows) + "x" + std::to_string(c.vocab) + "_best" + std::to_string(c.best);
    bench<TokenLogprobsArgs>(
        {"token_logprobs", label, Where::kBoth}, {token_logprobs_impls(), check_token_logprobs}, [c](Inputs& in) {
          TokenLogprobsArgs args{.logits = in.normal(DType::kF32, {c.rows, c.vocab}, [](float x) { return 2 * x; }),
                                 .ids = in.count(c.rows),
                                 .logprobs = in.output(DType::kF32, {c.rows}),
                                 .ranks = in.output(DType::kI32, {c.rows})};
          if (c.best > 0) {
            args.counts = in.ints(std::vector<int32_t>(size_t(c.rows), int32_t(c.best)));
            args.best_ids = in.output(DType::kI32, {c.rows, c.best});
            args.best_logprobs = in.output(DType::kF32, {c.rows, c.best});
          }
          return Call<TokenLogprobsArgs>{
              .args = args, .work = {.bytes = 4.0 * double(c.rows * c.vocab)}, .outputs = {args.logprobs}};
        });
  }
  return true;
}();

}  // namespace
}  // namespace sluice::benching
