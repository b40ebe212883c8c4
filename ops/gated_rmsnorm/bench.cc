#include "ops/gated_rmsnorm/cases.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> x, z, weight;
  std::vector<Bf16> y;
};

const bool registered = [] {
  for (const GatedRmsnormCase& c : kGatedRmsnormBenchCases) {
    const int64_t n = c.rows * c.heads * c.dim;
    auto m = std::make_shared<Memory>();
    m->x.assign(n, 0.5f), m->z.assign(n, 0.5f), m->weight.assign(c.dim, 1.0f), m->y.resize(n);
    const GatedRmsnormArgs args{.x = Tensor::of(m->x.data(), {c.rows, c.heads, c.dim}),
                                .z = Tensor::of(m->z.data(), {c.rows, c.heads, c.dim}),
                                .weight = Tensor::of(m->weight.data(), {c.dim}),
                                .y = Tensor::of(m->y.data(), {c.rows, c.heads, c.dim})};
    benching::bench_impls("gated_rmsnorm", std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim),
                          gated_rmsnorm_impls(), args, {.bytes = 10.0 * double(n), .flops = 24.0 * double(n)}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
