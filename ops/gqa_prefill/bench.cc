#include "ops/gqa_prefill/bench_problem.h"

namespace sluice::benching {
namespace {

void add(Where where, const GqaBenchCase& c, DType q_type, DType cache) {
  const std::string label = std::to_string(c.sequences) + "x" + std::to_string(c.rows) + "+" + std::to_string(c.length - c.rows) +
                            "x" + std::to_string(c.heads) + "/" + std::string(dtype_name(cache));
  bench<GqaPrefillArgs>({"gqa_prefill", label, where}, {gqa_prefill_impls(), check_gqa_prefill},
                        [=](Inputs& in) { return gqa_call<GqaPrefillArgs>(in, c, q_type, cache, false); });
}

const bool registered = [] {
  for (const GqaBenchCase& c : {GqaBenchCase{1, 512, 512}, GqaBenchCase{1, 512, 4096}, GqaBenchCase{1, 4, 4096}})
    for (const DType cache : {DType::kBF16, DType::kF32}) add(Where::kCpu, c, DType::kF32, cache);
  for (const GqaBenchCase& c :
       {GqaBenchCase{1, 512, 512}, GqaBenchCase{4, 65, 200}, GqaBenchCase{1, 4096, 4096, 32, 4},
        GqaBenchCase{1, 16384, 16384, 32, 4}, GqaBenchCase{8, 1024, 1024, 32, 4}, GqaBenchCase{1, 1024, 8192, 32, 4}})
    add(Where::kGpu, c, DType::kBF16, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
