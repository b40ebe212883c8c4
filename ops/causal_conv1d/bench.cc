#include "ops/causal_conv1d/cases.h"
#include "ops/causal_conv1d/causal_conv1d.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  Buffer floats;  // read as bf16 where the case says so: either half of an fp32 0.5 is a small number
  std::vector<int32_t> cu, slots;
};

const bool registered = [] {
  constexpr int64_t W = 4;
  for (const CausalConv1dBenchCase& c : kCausalConv1dBenchCases) {
    const int64_t B = c.sequences, T = B * c.tokens, C = c.channels;
    auto memory = std::make_shared<Memory>();
    memory->floats = Buffer::allocate(size_t(2 * T * C + C * W + B * C * (W - 1)) * sizeof(float)).value();
    auto* p = reinterpret_cast<float*>(memory->floats.data());
    std::fill_n(p, memory->floats.size() / sizeof(float), 0.5f);
    const auto take = [&](DType type, std::initializer_list<int64_t> shape) {
      const Tensor t(p, type, shape);
      p += t.numel();
      return t;
    };
    for (int64_t b = 0; b <= B; ++b) memory->cu.push_back(int32_t(b * c.tokens));
    for (int64_t b = 0; b < B; ++b) memory->slots.push_back(int32_t(b));
    Tensor state = take(DType::kF32, {B, C, W - 1});
    if (c.channels_contiguous) state.stride = {C * (W - 1), 1, C};
    const CausalConv1dArgs args{.x = take(c.dtype, {T, C}),
                                .weight = take(c.dtype, {C, W}),
                                .conv_state = state,
                                .cu_seqlens = Tensor::of(memory->cu.data(), {B + 1}),
                                .slots = Tensor::of(memory->slots.data(), {B}),
                                .y = take(DType::kF32, {T, C})};
    const std::string label = std::to_string(B) + "x" + std::to_string(c.tokens) + "x" + std::to_string(C) + "/" +
                              std::string(dtype_name(c.dtype)) + (c.channels_contiguous ? "" : "/state_as_filed");
    const double bytes = double(args.x.bytes() + args.weight.bytes() + 2 * state.bytes() + args.y.bytes());
    benching::bench_impls("causal_conv1d", label, causal_conv1d_impls(), args, {.bytes = bytes, .flops = 2.0 * W * T * C}, memory);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
