#include "ops/gqa_decode/gqa_decode.h"
#include "ops/gqa_prefill/bench_problem.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

const bool registered = [] {
  for (const auto& [batch, length] : {std::pair<int64_t, int64_t>{1, 512}, {1, 4096}, {1, 65536}, {8, 4096}})
    for (const DType cache : {DType::kBF16, DType::kF32}) {
      auto memory = std::make_shared<GqaMemory>(batch, 1, length, cache);
      GqaDecodeArgs args{memory->args};
      args.cu_seqlens = {};
      bench_impls("gqa_decode", std::to_string(batch) + "x" + std::to_string(length) + "/" + std::string(dtype_name(cache)),
                  gqa_decode_impls(), args,
                  {.bytes = double(memory->k.size() + memory->v.size()),
                   .flops = double(batch * length * GqaMemory::kHeads * 4 * GqaMemory::kDim)},
                  memory);
    }
  return true;
}();

}  // namespace
}  // namespace sluice::benching
