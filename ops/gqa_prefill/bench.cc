#include "ops/gqa_prefill/bench_problem.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

const bool registered = [] {
  for (const auto& [rows, prefix] : {std::pair<int64_t, int64_t>{512, 0}, {512, 3584}, {4, 4092}})
    for (const DType cache : {DType::kBF16, DType::kF32}) {
      auto memory = std::make_shared<GqaMemory>(1, rows, prefix + rows, cache);
      const double pairs = double(rows) * (double(prefix) + double(rows + 1) / 2) * GqaMemory::kHeads;  // of queries and keys
      bench_impls("gqa_prefill", std::to_string(rows) + "+" + std::to_string(prefix) + "/" + std::string(dtype_name(cache)),
                  gqa_prefill_impls(), GqaPrefillArgs{memory->args},
                  {.bytes = double(memory->k.size() + memory->v.size()), .flops = pairs * 4 * GqaMemory::kDim}, memory);
    }
  return true;
}();

}  // namespace
}  // namespace sluice::benching
