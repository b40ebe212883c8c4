#include "ops/copy_rows/copy_rows.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// Every second row of twice as many.
void add(int64_t rows, int64_t length, DType dtype) {
  bench<CopyRowsArgs>(
      {"copy_rows", std::to_string(rows) + "x" + std::to_string(length), Where::kBoth}, {copy_rows_impls(), check_copy_rows},
      [=](Inputs& in) {
        std::vector<int32_t> from;
        for (int64_t i = 0; i < rows; ++i) from.push_back(int32_t(2 * i + 1));
        const CopyRowsArgs args{
            .x = in.normal(dtype, {2 * rows, length}), .out = in.output(dtype, {rows, length}), .from = in.ints(from)};
        return Call<CopyRowsArgs>{.args = args, .work = {.bytes = 2.0 * double(args.out.bytes())}, .outputs = {args.out}};
      });
}

const bool registered = [] {
  add(1, 5120, DType::kBF16), add(64, 5120, DType::kBF16), add(64, 248320, DType::kF32);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
