#include "ops/index_logits/cases.h"
#include "ops/index_logits/index_logits.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

constexpr int64_t kPage = 64;  // keys

double flops(double rows, int64_t heads, int64_t dim) { return rows * double(heads) * double(2 * dim + 2); }

// Tokens that are the last of the keys: each sees what is before it.
void add(Where where, const IndexLogitsCase& c, DType type) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim) + "/keys " +
                            std::to_string(c.keys) + (type == DType::kBF16 ? "/bf16" : "/e4m3");
  bench<IndexLogitsArgs>({"index_logits", label, where}, {index_logits_impls(), check_index_logits}, [c, type](Inputs& in) {
    std::vector<int32_t> ends;
    double seen = 0;
    for (int64_t t = 0; t < c.tokens; ++t) ends.push_back(int32_t(c.keys - c.tokens + t + 1)), seen += ends.back();
    const IndexLogitsArgs args{.q = in.normal(type, {c.tokens, c.heads, c.dim}),
                               .weights = in.normal(DType::kF32, {c.tokens, c.heads}),
                               .k = in.normal(type, {c.keys, c.dim}),
                               .k_scale = in.normal(DType::kF32, {c.keys}),
                               .k_end = in.ints(ends),
                               .logits = in.output(DType::kF32, {c.tokens, c.keys}),
                               .clean = true};
    return Call<IndexLogitsArgs>{.args = args,
                                 .work = {.bytes = double(args.q.bytes() + args.k.bytes() + args.k_scale.bytes()) + 4 * seen,
                                          .flops = flops(seen, c.heads, c.dim)},
                                 .outputs = {args.logits},
                                 .limit = 1e-5};
  });
}

void add_decode(Where where, const IndexLogitsDecodeCase& c) {
  constexpr int64_t kDim = 128;
  const std::string label = std::to_string(c.sequences) + "x" + std::to_string(c.next_n) + "x" + std::to_string(c.heads) + "x" +
                            std::to_string(kDim) + "/paged " + std::to_string(c.context);
  bench<IndexLogitsArgs>({"index_logits", label, where}, {index_logits_impls(), check_index_logits}, [c](Inputs& in) {
    const int64_t T = c.sequences * c.next_n, pages = c.context / kPage;
    // Numbers near 1 as codes and as scales: any bytes would be NaN here and there.
    Tensor cache =
        in.normal(DType::kF32, {c.sequences * pages, kPage * (kDim + 4) / 4}, [](float x) { return x > 0 ? 1.0f : 1.5f; });
    cache.dtype = DType::kU8, cache.shape[1] *= 4, cache.stride[0] *= 4;
    std::vector<int32_t> table;  // pages of a sequence are apart, as after a while of serving
    for (int64_t b = 0; b < c.sequences; ++b)
      for (int64_t i = 0; i < pages; ++i) table.push_back(int32_t(i * c.sequences + b));
    const IndexLogitsArgs args{.q = in.normal(DType::kF8E4M3, {T, c.heads, kDim}),
                               .weights = in.normal(DType::kF32, {T, c.heads}),
                               .cache = cache,
                               .page_size = kPage,
                               .block_table = in.ints(table).reshape({c.sequences, pages}),
                               .context_lens = in.ints(std::vector<int32_t>(size_t(c.sequences), int32_t(c.context))),
                               .logits = in.output(DType::kF32, {T, c.context})};
    return Call<IndexLogitsArgs>{.args = args,
                                 .work = {.bytes = double(args.q.bytes() + cache.bytes() + args.logits.bytes()),
                                          .flops = flops(double(T * c.context), c.heads, kDim)},
                                 .outputs = {args.logits},
                                 .limit = 1e-5};
  });
}

const bool registered = [] {
  for (const IndexLogitsCase& c : kIndexLogitsBenchCases) add(Where::kBoth, c, DType::kF8E4M3), add(Where::kBoth, c, DType::kBF16);
  for (const IndexLogitsCase& c : kIndexLogitsGpuBenchCases) add(Where::kGpu, c, DType::kF8E4M3);
  for (const IndexLogitsDecodeCase& c : kIndexLogitsDecodeBenchCases) add_decode(Where::kGpu, c);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
