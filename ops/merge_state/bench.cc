#include "ops/merge_state/cases.h"
#include "ops/merge_state/merge_state.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// Two partial results of bf16 values.
void add(Where where, const MergeStateCase& c) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) + "/bf16";
  bench<MergeStateArgs>({"merge_state", label, where}, {merge_state_impls(), check_merge_state}, [c](Inputs& in) {
    const auto state = [&] {
      return AttentionState{.v = in.normal(DType::kBF16, {c.tokens, c.heads, c.dim}),
                            .lse = in.normal(DType::kF32, {c.tokens, c.heads})};
    };
    const MergeStateArgs args{
        .a = state(),
        .b = state(),
        .out = {.v = in.output(DType::kBF16, {c.tokens, c.heads, c.dim}), .lse = in.output(DType::kF32, {c.tokens, c.heads})}};
    return Call<MergeStateArgs>{
        .args = args,
        .work = {.bytes = 3.0 * double(args.out.v.bytes() + args.out.lse.bytes()), .flops = 5.0 * double(args.out.v.numel())},
        .outputs = {args.out.v, args.out.lse},
        .limit = 4e-3};
  });
}

// Eight partial results a token, as of a split of the keys.
void add_split(Where where, const MergeStateCase& c) {
  constexpr int64_t kStates = 8;
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) + "/8 states";
  bench<MergeStateArgs>({"merge_state", label, where}, {merge_state_impls(), check_merge_state}, [c](Inputs& in) {
    std::vector<int32_t> indptr;
    for (int64_t t = 0; t <= c.tokens; ++t) indptr.push_back(int32_t(t * kStates));
    const MergeStateArgs args{.a = {.v = in.normal(DType::kF32, {c.tokens * kStates, c.heads, c.dim}),
                                    .lse = in.normal(DType::kF32, {c.tokens * kStates, c.heads})},
                              .indptr = in.ints(indptr),
                              .out = {.v = in.output(DType::kBF16, {c.tokens, c.heads, c.dim})}};
    return Call<MergeStateArgs>{.args = args,
                                .work = {.bytes = double(args.a.v.bytes() + args.a.lse.bytes() + args.out.v.bytes()),
                                         .flops = 2.0 * double(args.a.v.numel())},
                                .outputs = {args.out.v},
                                .limit = 4e-3};
  });
}

const bool registered = [] {
  for (const MergeStateCase& c : kMergeStateBenchCases) add(Where::kBoth, c);
  for (const MergeStateCase& c : kMergeStateGpuBenchCases) add(Where::kGpu, c);
  add_split(Where::kBoth, {64, 16, 128, 0});
  return true;
}();

}  // namespace
}  // namespace sluice::benching
