#include "ops/causal_conv1d/cases.h"
#include "ops/causal_conv1d/causal_conv1d.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int64_t kWidth = 4;

void add(Where where, const CausalConv1dBenchCase& c, DType out) {
  const std::string label = std::to_string(c.sequences) + "x" + std::to_string(c.tokens) + "x" + std::to_string(c.channels) + "/" +
                            std::string(dtype_name(c.dtype)) + (c.channels_contiguous ? "" : "/state_as_filed");
  bench<CausalConv1dArgs>({"causal_conv1d", label, where}, {causal_conv1d_impls(), check_causal_conv1d}, [c, out](Inputs& in) {
    const int64_t B = c.sequences, T = B * c.tokens, C = c.channels;
    std::vector<int32_t> cu;
    for (int64_t b = 0; b <= B; ++b) cu.push_back(int32_t(b * c.tokens));
    Tensor state = in.normal(out, {B, C, kWidth - 1});
    if (c.channels_contiguous) state.stride = {C * (kWidth - 1), 1, C};
    const CausalConv1dArgs args{.x = in.normal(c.dtype, {T, C}),
                                .weight = in.normal(c.dtype, {C, kWidth}),
                                .conv_state = state,
                                .cu_seqlens = in.ints(cu),
                                .slots = in.count(B),
                                .y = in.output(out, {T, C})};
    return Call<CausalConv1dArgs>{
        .args = args,
        .work = {.bytes = double(args.x.bytes() + args.weight.bytes() + 2 * state.bytes() + args.y.bytes()),
                 .flops = 2.0 * kWidth * double(T * C)},
        .outputs = {args.y, state},
        .weights = {args.weight},
        .limit = 4e-3,
        .state_bytes = state.bytes()};
  });
}

const bool registered = [] {
  for (const CausalConv1dBenchCase& c : kCausalConv1dBenchCases) add(Where::kCpu, c, DType::kF32);
  for (const auto& [sequences, tokens] : {std::pair<int64_t, int64_t>{1, 8192}, {8, 1024}, {64, 1}, {256, 1}})
    add(Where::kGpu, {sequences, tokens, 12288, DType::kBF16, true}, DType::kBF16);  // 16 key and 64 value heads of 128
  return true;
}();

}  // namespace
}  // namespace sluice::benching
