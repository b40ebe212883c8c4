#include "ops/moe_align/cases.h"
#include "ops/moe_align/moe_align.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int64_t kTopK = 8, kBlock = 64;

void add(Where where, const MoeAlignBenchCase& c) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(kTopK) + "/" + std::to_string(c.experts);
  bench<MoeAlignArgs>({"moe_align", label, where}, {moe_align_impls(), check_moe_align}, [=](Inputs& in) {
    const int64_t entries = c.tokens * kTopK;
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < entries; ++i)  // K different ones a token
      ids.push_back(int32_t((i / kTopK * 2654435761 + i % kTopK * (c.experts / kTopK)) % c.experts));
    const MoeAlignArgs args{.topk_ids = in.ints(ids).reshape({c.tokens, kTopK}),
                            .sorted_token_ids = in.output(DType::kI32, {moe_align_capacity(entries, c.experts, kBlock)}),
                            .expert_ids = in.output(DType::kI32, {moe_align_blocks(entries, c.experts, kBlock)}),
                            .num_tokens_post_pad = in.output(DType::kI32, {1}),
                            .experts = c.experts,
                            .block = kBlock};
    const double read = double(args.topk_ids.bytes()), written = double(args.sorted_token_ids.bytes() + args.expert_ids.bytes());
    return Call<MoeAlignArgs>{.args = args,
                              .work = {.bytes = read + written},
                              .outputs = {args.sorted_token_ids, args.expert_ids, args.num_tokens_post_pad},
                              .limit = 0};
  });
}

const bool registered = [] {
  for (const MoeAlignBenchCase& c : kMoeAlignBenchCases) add(c.tokens == 512 ? Where::kBoth : Where::kGpu, c);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
