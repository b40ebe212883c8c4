#include "ops/rmsnorm/cases.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

struct Memory {
  std::vector<float> x, residual, y;
  std::vector<Bf16> weight, y_bf16;
};

const bool registered = [] {
  for (const RmsnormCase& c : kRmsnormBenchCases) {
    const int64_t R = c.rows * (c.heads ? c.heads : 1), D = c.dim, n = R * D;
    auto m = std::make_shared<Memory>();
    m->x.assign(n, 0.5f), m->residual.assign(n, 0.0f), m->y.resize(n), m->weight.assign(D, Bf16(1.0f)), m->y_bf16.resize(n);
    const std::string label = std::to_string(R) + "x" + std::to_string(D);
    RmsnormArgs args{.x = Tensor::of(m->x.data(), {R, D}), .weight = Tensor::of(m->weight.data(), {D})};
    args.y = Tensor::of(m->y.data(), {R, D}), args.weight_offset = 1;
    benching::bench_impls("rmsnorm", label, rmsnorm_impls(), args, {.bytes = 8.0 * double(n), .flops = 4.0 * double(n)}, m);
    if (c.heads) continue;
    args.residual = args.residual_out = Tensor::of(m->residual.data(), {R, D}), args.y = Tensor::of(m->y_bf16.data(), {R, D});
    benching::bench_impls("rmsnorm", label + "_residual_to_bf16", rmsnorm_impls(), args,
                          {.bytes = 14.0 * double(n), .flops = 5.0 * double(n)}, m);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
