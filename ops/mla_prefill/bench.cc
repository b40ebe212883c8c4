#include "ops/mla_prefill/cases.h"
#include "ops/mla_prefill/mla_prefill.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

void add(Where where, const MlaPrefillBenchCase& c) {
  const std::string label = std::string(c.glm ? "glm/" : "deepseek/") + std::to_string(c.sequences) + "x" + std::to_string(c.rows) +
                            "+" + std::to_string(c.keys - c.rows) + "x" + std::to_string(c.heads);
  bench<MlaPrefillArgs>({"mla_prefill", label, where}, {mla_prefill_impls(), check_mla_prefill}, [c](Inputs& in) {
    const int64_t B = in.sequences(c.sequences), N = c.glm ? 192 : 128, P = 64, V = c.glm ? 256 : 128;
    std::vector<int32_t> rows, keys;
    for (int64_t b = 0; b <= B; ++b) rows.push_back(int32_t(b * c.rows)), keys.push_back(int32_t(b * c.keys));
    const Tensor kv = in.normal(DType::kBF16, {B * c.keys, c.heads, N + V});  // as the product with W_kvb leaves it
    const MlaPrefillArgs a{.q = in.normal(DType::kBF16, {B * c.rows, c.heads, N + P}),
                           .k_nope = kv.slice(2, 0, N),
                           .k_pe = in.normal(DType::kBF16, {B * c.keys, P}),
                           .v = kv.slice(2, N, N + V),
                           .cu_seqlens_q = in.ints(rows),
                           .cu_seqlens_k = in.ints(keys),
                           .o = in.output(DType::kBF16, {B * c.rows, c.heads, V}),
                           .lse = in.output(DType::kF32, {B * c.rows, c.heads}),
                           .scale = float(1 / std::sqrt(double(N + P)))};
    const double pairs = double(B * c.rows * c.heads) * (double(c.keys - c.rows) + double(c.rows + 1) / 2);
    return Call<MlaPrefillArgs>{.args = a,
                                .work = {.bytes = double(a.q.bytes() + kv.bytes() + a.k_pe.bytes() + a.o.bytes() + a.lse.bytes()),
                                         .flops = pairs * 2 * double(N + P + V)},
                                .outputs = {a.o}};
  });
}

const bool registered = [] {
  add(Where::kBoth, {1, 256, 256, 16, false});
  for (const MlaPrefillBenchCase& c : kMlaPrefillBenchCases) add(Where::kGpu, c);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
