#include "ops/mla_rope_quantize/cases.h"
#include "ops/mla_rope_quantize/mla_rope_quantize.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// As words of four bytes, which is how codes are compared.
Tensor words(Tensor t) {
  t.dtype = DType::kI32, t.shape[t.rank - 1] /= 4;
  for (int d = 0; d + 1 < t.rank; ++d) t.stride[d] /= 4;
  return t;
}

// q to one buffer [T, H, 576] of e4m3, k to its slot in the cache or to a buffer of its own.
void add(Where where, const MlaRopeQuantizeCase& c, bool to_cache) {
  const std::string label = std::to_string(c.tokens) + "x" + std::to_string(c.heads) + (to_cache ? "/cache" : "");
  bench<MlaRopeQuantizeArgs>(
      {"mla_rope_quantize", label, where}, {mla_rope_quantize_impls(), check_mla_rope_quantize}, [c, to_cache](Inputs& in) {
        constexpr int64_t kPositions = 8192;
        const int64_t T = c.tokens, H = c.heads, N = c.nope_dim, R = c.rope_dim;
        std::vector<int32_t> positions;
        for (int64_t t = 0; t < T; ++t) positions.push_back(int32_t(t * 61 % kPositions));
        const Tensor q = in.output(DType::kF8E4M3, {T, H, N + R}), k = in.output(DType::kF8E4M3, {T, N + R});
        MlaRopeQuantizeArgs args{.q_rope = in.normal(DType::kBF16, {T, H, R}),
                                 .k_rope = in.normal(DType::kBF16, {T, R}),
                                 .q_nope = in.normal(DType::kBF16, {T, H, N}),
                                 .k_nope = in.normal(DType::kBF16, {T, N}),
                                 .cos_sin = in.normal(DType::kF32, {kPositions, R}),
                                 .positions = in.ints(positions),
                                 .q_rope_out = q.slice(2, N, N + R),
                                 .q_nope_out = q.slice(2, 0, N)};
        if (to_cache) args.cache = {.rows = k, .format = MlaCacheFormat::kScaledE4M3}, args.loc = in.count(T);
        else args.k_nope_out = k.slice(1, 0, N), args.k_rope_out = k.slice(1, N, N + R);
        const double elements = double(T * (H + 1) * (N + R));
        return Call<MlaRopeQuantizeArgs>{.args = args,
                                         .work = {.bytes = 3 * elements, .flops = elements + double(3 * T * (H + 1) * R)},
                                         .outputs = {words(q), words(k)},
                                         .limit = 1e-2};  // a code apart in the upper byte of a word, now and then
      });
}

const bool registered = [] {
  for (const MlaRopeQuantizeCase& c : kMlaRopeQuantizeBenchCases) add(Where::kBoth, c, true);
  for (const MlaRopeQuantizeCase& c : kMlaRopeQuantizeGpuBenchCases) add(Where::kGpu, c, true);
  add(Where::kGpu, {128, 128, 512, 64, 0}, false);
  return true;
}();

}  // namespace
}  // namespace sluice::benching
