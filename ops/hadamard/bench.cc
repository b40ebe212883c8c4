#include "ops/hadamard/cases.h"
#include "ops/hadamard/hadamard.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const HadamardCase& c, DType dtype) {
  const std::string label =
      std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) + (dtype == DType::kF32 ? "" : "/bf16");
  bench<HadamardArgs>({"hadamard", label, where}, {hadamard_impls(), check_hadamard}, [c, dtype](Inputs& in) {
    const Tensor x = in.normal(dtype, {c.rows, c.heads, c.dim}), y = in.output(dtype, {c.rows, c.heads, c.dim});
    int stages = 0;
    while (int64_t(1) << stages < c.dim) ++stages;
    return Call<HadamardArgs>{.args = {.x = x, .y = y},
                              .work = {.bytes = 2.0 * double(y.bytes()), .flops = double(stages + 1) * double(y.numel())},
                              .outputs = {y},
                              .limit = 4e-3};
  });
}

const bool registered = [] {
  for (const HadamardCase& c : kHadamardBenchCases) add(Where::kBoth, c, DType::kBF16);
  for (const HadamardCase& c : kHadamardGpuBenchCases) add(Where::kGpu, c, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
