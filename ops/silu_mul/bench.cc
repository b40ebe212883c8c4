#include "ops/silu_mul/cases.h"
#include "ops/silu_mul/silu_mul.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> gate_up;
  std::vector<Bf16> y;
};

// The halves of one matrix of bf16.
void add_on_gpu(int64_t rows, int64_t dim) {
  using namespace benching;
  const std::string label = std::to_string(rows) + "x" + std::to_string(dim) + "/bf16";
  bench<SiluMulArgs>({"silu_mul", label, Where::kGpu}, {silu_mul_impls(), check_silu_mul}, [=](Inputs& in) {
    const Tensor both = in.normal(DType::kBF16, {rows, 2 * dim});
    const SiluMulArgs args{
        .gate = both.slice(1, 0, dim), .up = both.slice(1, dim, 2 * dim), .y = in.output(DType::kBF16, {rows, dim})};
    return Call<SiluMulArgs>{
        .args = args, .work = {.bytes = 6 * double(args.y.numel()), .flops = 20 * double(args.y.numel())}, .outputs = {args.y}};
  });
}

const bool registered = [] {
  for (const int64_t rows : {1, 512, 4096}) add_on_gpu(rows, 3584);
  for (const SiluMulCase& c : kSiluMulBenchCases) {
    auto m = std::make_shared<Memory>();
    m->gate_up.assign(c.rows * c.in_stride, 0.5f), m->y.resize(c.rows * c.dim);
    const Tensor both = Tensor::of(m->gate_up.data(), {c.rows, c.in_stride});
    const SiluMulArgs args{
        .gate = both.slice(1, 0, c.dim), .up = both.slice(1, c.dim, 2 * c.dim), .y = Tensor::of(m->y.data(), {c.rows, c.dim})};
    const double n = double(c.rows * c.dim);
    benching::bench_impls("silu_mul", std::to_string(c.rows) + "x" + std::to_string(c.dim), silu_mul_impls(), args,
                          {.bytes = 10 * n, .flops = 20 * n}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
