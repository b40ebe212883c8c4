#include "ops/l2norm/cases.h"
#include "ops/l2norm/l2norm.h"
#include "tests/support/op_bench.h"

namespace sluice {
namespace {

const bool registered = [] {
  for (const L2normCase& c : kL2normBenchCases) {
    auto memory = std::make_shared<std::vector<float>>(c.rows * c.row_stride + c.rows * c.heads * c.dim, 0.5f);
    Tensor x = Tensor::of(memory->data(), {c.rows, c.heads, c.dim});
    x.stride[0] = c.row_stride;
    const Tensor y = Tensor::of(memory->data() + c.rows * c.row_stride, {c.rows, c.heads, c.dim});
    const double n = double(y.numel());
    benching::bench_impls("l2norm", std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim), l2norm_impls(),
                          L2normArgs{.x = x, .y = y}, {.bytes = 8 * n, .flops = 3 * n}, memory);
  }
  return true;
}();

}  // namespace
}  // namespace sluice
