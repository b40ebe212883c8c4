#include "ops/qkv_split/cases.h"
#include "ops/qkv_split/qkv_split.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// All of a projection's output in one of the two layouts.
void add_whole(const QkvSplitCase& c, QkvLayout layout) {
  const bool concatenated = layout == QkvLayout::kConcatenated;
  const std::string label = std::to_string(c.rows) + (concatenated ? "/concatenated" : "/per_key_head");
  bench<QkvSplitArgs>({"qkv_split", label, Where::kBoth}, {qkv_split_impls(), check_qkv_split}, [=](Inputs& in) {
    const int64_t T = c.rows, keys = c.key_heads * c.key_dim, values = c.value_heads * c.value_dim, gates = 2 * c.value_heads;
    const DType f = DType::kF32;
    QkvSplitArgs a{.mixed = in.normal(f, {T, 2 * keys + 2 * values + (concatenated ? gates : 0)}), .layout = layout};
    if (!concatenated) a.ba = in.normal(f, {T, gates});
    a.q = in.output(f, {T, c.key_heads, c.key_dim}), a.k = in.output(f, {T, c.key_heads, c.key_dim});
    a.v = in.output(f, {T, c.value_heads, c.value_dim}), a.z = in.output(f, {T, c.value_heads, c.value_dim});
    a.b = in.output(f, {T, c.value_heads}), a.a = in.output(f, {T, c.value_heads});
    return Call<QkvSplitArgs>{.args = a,
                              .work = {.bytes = 8.0 * double(T * (2 * keys + 2 * values + gates))},
                              .outputs = {a.q, a.k, a.v, a.z, a.b, a.a},
                              .limit = 0};
  });
}

// q, k and v of 8192 rows after the convolution: dense, or part of a wider row.
void add_after_conv(int64_t HK, int64_t HV, bool strided) {
  const std::string label = "8192/" + std::to_string(HK) + "," + std::to_string(HV) + (strided ? "/strided" : "/dense");
  bench<QkvSplitArgs>({"qkv_split", label, Where::kGpu}, {qkv_split_impls(), check_qkv_split}, [=](Inputs& in) {
    constexpr int64_t T = 8192, D = 128;
    const int64_t columns = (2 * HK + HV) * D;
    const DType bf16 = DType::kBF16;
    const Tensor row = in.normal(bf16, {T, strided ? columns + HV * D + 2 * HV : columns});
    const QkvSplitArgs a{.mixed = row.slice(1, 0, columns),
                         .q = in.output(bf16, {T, HK, D}),
                         .k = in.output(bf16, {T, HK, D}),
                         .v = in.output(bf16, {T, HV, D})};
    return Call<QkvSplitArgs>{.args = a, .work = {.bytes = 4.0 * double(T * columns)}, .outputs = {a.q, a.k, a.v}, .limit = 0};
  });
}

const bool registered = [] {
  for (const QkvSplitCase& c : kQkvSplitBenchCases)
    for (const QkvLayout layout : {QkvLayout::kConcatenated, QkvLayout::kPerKeyHead}) add_whole(c, layout);
  for (const bool strided : {false, true})
    for (const int64_t HV : {16, 32, 64}) add_after_conv(16, HV, strided);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
