#include "ops/index_topk/cases.h"
#include "ops/index_topk/index_topk.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// Scores of rows in full length.
void add(Where where, const IndexTopkCase& c) {
  const std::string label = std::to_string(c.rows) + "x" + std::to_string(c.columns) + "/k" + std::to_string(c.k);
  bench<IndexTopkArgs>({"index_topk", label, where}, {index_topk_impls(), check_index_topk}, [c](Inputs& in) {
    const IndexTopkArgs args{.scores = in.normal(DType::kF32, {c.rows, c.columns}), .out = in.output(DType::kI32, {c.rows, c.k})};
    return Call<IndexTopkArgs>{
        .args = args, .work = {.bytes = double(args.scores.bytes() + args.out.bytes())}, .outputs = {args.out}, .limit = 0};
  });
}

const bool registered = [] {
  for (const IndexTopkCase& c : kIndexTopkBenchCases) add(Where::kBoth, c);
  for (const IndexTopkCase& c : kIndexTopkGpuBenchCases) add(Where::kGpu, c);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
