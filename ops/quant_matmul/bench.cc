#include "ops/quant_matmul/quant_matmul.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// Memory full of random bits, over and over from a prime number of words.
Tensor random_bits(HostMemory& memory, DType dtype, std::initializer_list<int64_t> shape) {
  std::vector<uint32_t> words(100003);
  uint32_t state = 1;
  for (uint32_t& w : words) state = state * 1664525u + 1013904223u, w = state ^ state >> 15;  // Numerical Recipes' generator
  Tensor t(nullptr, dtype, shape);
  t.data = memory.allocate(t.bytes());
  if (t.data) memory.repeat(static_cast<std::byte*>(t.data), t.bytes(), std::as_bytes(std::span(words)));
  return t;
}

struct Format {
  const char* name;
  DType codes;
  int64_t group;  // 0: one scale a row, or fp8's blocks
};
constexpr Format kFormats[] = {{"int8", DType::kI8, 0},
                               {"int8g32", DType::kI8, 32},
                               {"int4g32", DType::kI32, 32},
                               {"int4g128", DType::kI32, 128},
                               {"fp8", DType::kF8E4M3, 0}};

struct Shape {
  int64_t n, k;
};
// Qwen3.5-0.8B: gate or up, down, both of gate and up, LM head.
constexpr Shape kShapes[] = {{3584, 1024}, {1024, 3584}, {7168, 1024}, {248320, 1024}};

void add(const Format& f, int64_t m, const Shape& s) {
  const std::string label = std::string(f.name) + "/" + std::to_string(m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k);
  auto memory = std::make_shared<HostMemory>();
  bench<QuantMatmulArgs>({"quant_matmul", label}, {quant_matmul_impls().first(quant_matmul_impls().size() - 1)}, [=](Inputs& in) {
    const bool fp8 = f.codes == DType::kF8E4M3;
    const int64_t rows = fp8 ? ceil_div(s.n, kFp8Block) : s.n, groups = fp8       ? ceil_div(s.k, kFp8Block)
                                                                        : f.group ? s.k / f.group
                                                                                  : 1;
    const QuantMatmulArgs args{.x = in.normal(DType::kBF16, {m, s.k}),
                               .w = random_bits(*memory, f.codes, {s.n, f.codes == DType::kI32 ? s.k / kCodesOfWord : s.k}),
                               .scale = in.normal(DType::kBF16, {rows, groups}),
                               .y = in.output(DType::kF32, {m, s.n})};
    return Call<QuantMatmulArgs>{.args = args,
                                 .work = {.bytes = double(args.x.bytes() + args.w.bytes() + args.scale.bytes() + args.y.bytes()),
                                          .flops = 2.0 * double(m) * double(s.n) * double(s.k)},
                                 .outputs = {args.y}};
  });
}

const bool registered = [] {
  for (const Format& f : kFormats)
    for (const Shape& s : kShapes)
      for (const int64_t m : {1, 16, 512})
        if (s.n < 100000 || m < 512) add(f, m, s);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
