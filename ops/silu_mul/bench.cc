#include "ops/silu_mul/cases.h"
#include "ops/silu_mul/silu_mul.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> gate_up;
  std::vector<Bf16> y;
};

const bool registered = [] {
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
