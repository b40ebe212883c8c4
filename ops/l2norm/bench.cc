#include "ops/l2norm/cases.h"
#include "ops/l2norm/l2norm.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const L2normCase& c, DType dtype) {
  const std::string label =
      std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) + (dtype == DType::kF32 ? "" : "/bf16");
  bench<L2normArgs>({"l2norm", label, where}, {l2norm_impls(), check_l2norm}, [c, dtype](Inputs& in) {
    const Tensor x = in.normal(dtype, {c.rows, c.row_stride}).slice(1, 0, c.heads * c.dim).split_last(c.heads, c.dim);
    const Tensor y = in.output(dtype, {c.rows, c.heads, c.dim});
    return Call<L2normArgs>{.args = {.x = x, .y = y},
                            .work = {.bytes = 2.0 * double(y.bytes()), .flops = 3.0 * double(y.numel())},
                            .outputs = {y},
                            .limit = 4e-3};
  });
}

const bool registered = [] {
  for (const L2normCase& c : kL2normBenchCases) add(Where::kBoth, c, DType::kF32);
  add(Where::kGpu, {8192, 16, 128, 12288}, DType::kBF16);  // the keys of 16,64 heads in a projection's row
  return true;
}();

}  // namespace
}  // namespace sluice::benching
