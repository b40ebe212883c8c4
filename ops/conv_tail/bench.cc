#include "ops/conv_tail/conv_tail.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// Sequences of `rows` tokens behind `start` others, each in a slot of its own.
void add(int64_t sequences, int64_t rows, int64_t start, int64_t channels) {
  const std::string label = std::to_string(sequences) + "x" + std::to_string(rows) + "x" + std::to_string(channels);
  bench<ConvTailArgs>({"conv_tail", label, Where::kBoth}, {conv_tail_impls(), check_conv_tail}, [=](Inputs& in) {
    constexpr int64_t kRing = 16, kKept = 3;
    std::vector<int32_t> cu;
    for (int64_t b = 0; b <= sequences; ++b) cu.push_back(int32_t(b * rows));
    const ConvTailArgs args{.qkv = in.normal(DType::kF32, {sequences * rows, channels}),
                            .conv_ring = in.normal(DType::kF32, {sequences, kRing, channels}),
                            .cu_seqlens = in.ints(cu),
                            .start = in.ints(std::vector<int32_t>(size_t(sequences), int32_t(start))),
                            .slots = in.count(sequences),
                            .tail = in.output(DType::kF32, {sequences, kKept, channels})};
    return Call<ConvTailArgs>{.args = args, .work = {.bytes = 2.0 * double(args.tail.bytes())}, .outputs = {args.tail}};
  });
}

const bool registered = [] {
  add(1, 1, 63, 6144), add(64, 1, 127, 6144), add(8, 512, 60, 6144);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
