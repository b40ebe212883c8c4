#include "ops/index_cache/index_cache.h"
#include "ops/indexer_prepare/cases.h"
#include "ops/indexer_prepare/indexer_prepare.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int64_t kRotary = 64, kPage = 64;  // dims; tokens

// bf16 queries and keys to codes, the keys into the cache's pages; head weights in fp32.
void add(Where where, int64_t T, int64_t H, bool hadamard) {
  const std::string label = std::to_string(T) + "x" + std::to_string(H) + "x128" + (hadamard ? "/hadamard" : "");
  bench<IndexerPrepareArgs>(
      {"indexer_prepare", label, where}, {indexer_prepare_impls(), check_indexer_prepare}, [T, H, hadamard](Inputs& in) {
        const int64_t D = kIndexDim, pages = (T + kPage - 1) / kPage;
        const IndexerPrepareArgs args{.q = {.x = in.normal(DType::kBF16, {T, H, D}),
                                            .weights = in.normal(DType::kF32, {T, H}),
                                            .out = in.output(DType::kF8E4M3, {T, H, D}),
                                            .gate = in.output(DType::kF32, {T, H})},
                                      .k = {.x = in.normal(DType::kBF16, {T, D}),
                                            .norm_weight = in.normal(DType::kBF16, {D}),
                                            .norm_bias = in.normal(DType::kBF16, {D}),
                                            .cache = in.output(DType::kU8, {pages, kPage * kIndexTokenBytes}),
                                            .loc = in.count(T)},
                                      .positions = in.count(T),
                                      .cos_sin = in.normal(DType::kF32, {T, kRotary}),
                                      .hadamard = hadamard};
        const double rows = double(T * (H + 1) * D), per_token = double(args.cos_sin.bytes()) + double(T) * (4 + 4 + 4);
        return Call<IndexerPrepareArgs>{
            .args = args,
            .work = {.bytes = 3 * rows + double(args.q.weights.bytes() + args.q.gate.bytes()) + per_token,
                     .flops = (hadamard ? 12.0 : 5.0) * rows},
            .outputs = {args.q.out, args.q.gate},
            .limit = 4e-3};
      });
}

const bool registered = [] {
  constexpr int64_t kDeepSeek = 64, kGlm = 32;  // heads
  for (const int64_t T : kIndexerPrepareBenchTokens) add(T == 1 || T == 512 ? Where::kBoth : Where::kGpu, T, kDeepSeek, false);
  for (const int64_t T : {int64_t(64), int64_t(4096)}) add(Where::kGpu, T, kDeepSeek, true);
  add(Where::kGpu, 4096, kGlm, false);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
