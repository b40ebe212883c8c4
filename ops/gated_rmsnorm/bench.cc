#include "ops/gated_rmsnorm/cases.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const GatedRmsnormCase& c, DType in_dtype) {
  const std::string label = std::to_string(c.rows) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) +
                            (in_dtype == DType::kF32 ? "" : "/bf16");
  bench<GatedRmsnormArgs>({"gated_rmsnorm", label, where}, {gated_rmsnorm_impls(), check_gated_rmsnorm}, [c, in_dtype](Inputs& in) {
    const GatedRmsnormArgs args{.x = in.normal(in_dtype, {c.rows, c.heads, c.dim}),
                                .z = in.normal(in_dtype, {c.rows, c.heads, c.dim}),
                                .weight = in.normal(DType::kF32, {c.dim}),
                                .y = in.output(DType::kBF16, {c.rows, c.heads, c.dim})};
    return Call<GatedRmsnormArgs>{
        .args = args,
        .work = {.bytes = double(args.x.bytes() + args.z.bytes() + args.y.bytes()), .flops = 24.0 * double(args.y.numel())},
        .outputs = {args.y},
        .limit = 4e-3};
  });
}

const bool registered = [] {
  for (const GatedRmsnormCase& c : kGatedRmsnormBenchCases) add(Where::kBoth, c, DType::kF32);
  for (const int64_t rows : {64, 8192}) add(Where::kGpu, {rows, 64, 128}, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
