#include "ops/kv_append/cases.h"
#include "ops/kv_append/kv_append.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// `sequences` of max_rows rows each, from position max_start on; pages in falling order.
void add(Where where, const KvAppendCase& c, DType in_type) {
  const int64_t B = c.sequences, T = B * c.max_rows, H = c.heads, D = c.dim, per = (c.max_start + c.max_rows + c.page - 1) / c.page;
  const std::string label = std::to_string(B) + "x" + std::to_string(c.max_rows) + "x" + std::to_string(H) + "x" +
                            std::to_string(D) + (in_type == DType::kBF16 ? "/bf16" : "");
  bench<KvAppendArgs>({"kv_append", label, where}, {kv_append_impls(), check_kv_append}, [=](Inputs& in) {
    std::vector<int32_t> cu, start, table;
    for (int64_t b = 0; b <= B; ++b) cu.push_back(int32_t(b * c.max_rows));
    for (int64_t b = 0; b < B; ++b) start.push_back(int32_t(c.max_start));
    for (int64_t p = B * per; p-- > 0;) table.push_back(int32_t(p));
    const KvAppendArgs args{.k = in.normal(in_type, {T, H, D}),
                            .v = in.normal(in_type, {T, H, D}),
                            .cu_seqlens = in.ints(cu),
                            .start = in.ints(start),
                            .block_table = in.ints(table).reshape({B, per}),
                            .k_cache = in.normal(DType::kBF16, {B * per, c.page, H, D}),
                            .v_cache = in.normal(DType::kBF16, {B * per, c.page, H, D})};
    const double moved = 2.0 * double(args.k.bytes()) + 4.0 * double(T * H * D);
    return Call<KvAppendArgs>{.args = args, .work = {.bytes = moved}, .outputs = {args.k_cache, args.v_cache}};
  });
}

const bool registered = [] {
  for (const KvAppendCase& c : kKvAppendBenchCases) add(Where::kBoth, c, DType::kF32);
  for (const KvAppendCase& c : kKvAppendGpuBenchCases) add(Where::kGpu, c, DType::kBF16);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
