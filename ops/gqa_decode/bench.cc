#include "ops/gqa_decode/gqa_decode.h"
#include "ops/gqa_prefill/bench_problem.h"

namespace sluice::benching {
namespace {

void add(Where where, const GqaBenchCase& c, DType q_type, DType cache) {
  const std::string label = std::to_string(c.sequences) + "x" + std::to_string(c.length) + "x" + std::to_string(c.heads) + "/" +
                            std::string(dtype_name(cache));
  bench<GqaDecodeArgs>({"gqa_decode", label, where}, {gqa_decode_impls(), check_gqa_decode},
                       [=](Inputs& in) { return gqa_call<GqaDecodeArgs>(in, c, q_type, cache, true); });
}

const bool registered = [] {
  for (const GqaBenchCase& c :
       {GqaBenchCase{1, 1, 512}, GqaBenchCase{1, 1, 4096}, GqaBenchCase{1, 1, 65536}, GqaBenchCase{8, 1, 4096}})
    for (const DType cache : {DType::kBF16, DType::kF32}) add(Where::kCpu, c, DType::kF32, cache);
  for (const GqaBenchCase& c : {GqaBenchCase{1, 1, 512}, GqaBenchCase{1, 1, 4096}, GqaBenchCase{64, 1, 4096, 32, 4}})
    add(Where::kGpu, c, DType::kBF16, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
