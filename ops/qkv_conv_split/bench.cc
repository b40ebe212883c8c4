#include "ops/qkv_conv_split/cases.h"
#include "ops/qkv_conv_split/qkv_conv_split.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

constexpr int64_t kHeads = 16, kDim = 128, kChannels = 3 * kHeads * kDim, kWidth = 4, kRing = 16;

struct Memory {
  Buffer floats;
  std::vector<int32_t> cu, start, slots;
};

const bool registered = [] {
  for (const QkvConvSplitBenchCase& c : kQkvConvSplitBenchCases) {
    const int64_t B = c.sequences, T = B * c.tokens;
    auto memory = std::make_shared<Memory>();
    const int64_t floats = 2 * T * kChannels + 4 * T * kHeads + kChannels * kWidth + 2 * kHeads + B * kRing * kChannels;
    memory->floats = Buffer::allocate(size_t(floats) * sizeof(float)).value();
    auto* p = reinterpret_cast<float*>(memory->floats.data());
    std::fill_n(p, floats, 0.5f);
    // Half of an fp32 0.5 is bf16 0.5 and the other half 0: either type reads small numbers.
    const auto take = [&](DType type, std::initializer_list<int64_t> shape) {
      const Tensor t(p, type, shape);
      p += t.numel();
      return t;
    };
    for (int64_t b = 0; b <= B; ++b) memory->cu.push_back(int32_t(b * c.tokens));
    for (int64_t b = 0; b < B; ++b) memory->slots.push_back(int32_t(b)), memory->start.push_back(100);
    const DType f = DType::kF32;
    const QkvConvSplitArgs args{.qkv = take(c.dtype, {T, kChannels}),
                                .b = take(c.dtype, {T, kHeads}),
                                .a = take(c.dtype, {T, kHeads}),
                                .weight = take(c.dtype, {kChannels, kWidth}),
                                .A_log = take(c.dtype, {kHeads}),
                                .dt_bias = take(c.dtype, {kHeads}),
                                .conv_ring = take(f, {B, kRing, kChannels}),
                                .cu_seqlens = Tensor::of(memory->cu.data(), {B + 1}),
                                .start = Tensor::of(memory->start.data(), {B}),
                                .slots = Tensor::of(memory->slots.data(), {B}),
                                .q = take(f, {T, kHeads, kDim}),
                                .k = take(f, {T, kHeads, kDim}),
                                .v = take(f, {T, kHeads, kDim}),
                                .log_g = take(f, {T, kHeads}),
                                .beta = take(f, {T, kHeads})};
    const int64_t ring_rows = B * (kWidth - 1 + std::min(c.tokens, kRing));  // read, written
    const double bytes = double(args.qkv.bytes() + args.weight.bytes() + args.q.bytes() + args.k.bytes() + args.v.bytes()) +
                         double(ring_rows * kChannels * 4);
    benching::bench_impls("qkv_conv_split",
                          std::to_string(B) + "x" + std::to_string(c.tokens) + "/" + std::string(dtype_name(c.dtype)),
                          qkv_conv_split_impls(), args, {.bytes = bytes, .flops = 2.0 * kWidth * double(T * kChannels)}, memory);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
