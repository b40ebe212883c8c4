#include "ops/mla_kv_store/cases.h"
#include "ops/mla_kv_store/mla_kv_store.h"
#include "tests/support/op_bench.h"

namespace sluice::benching {
namespace {

// bf16 rows of DeepSeek's projection (latent | rope among 2112 elements), to slots in no order.
void add(Where where, const char* format_name, MlaCacheFormat format, const MlaKvStoreCase& c) {
  const std::string label = std::to_string(c.tokens) + "/" + format_name;
  bench<MlaKvStoreArgs>({"mla_kv_store", label, where}, {mla_kv_store_impls(), check_mla_kv_store}, [c, format](Inputs& in) {
    constexpr int64_t kRow = 2112, kLatentAt = 1536;  // of c_q | latent | rope
    const int64_t L = c.latent_dim, R = c.rope_dim, slots = (c.tokens + c.page - 1) / c.page * c.page;
    const bool plain = format == MlaCacheFormat::kPlain;
    const int64_t width = format == MlaCacheFormat::kFlashMlaV32 ? mla_v32_row_bytes(L, R) : L + R;
    std::vector<int32_t> loc;
    for (int64_t t = 0; t < c.tokens; ++t) loc.push_back(int32_t(t * 5 % c.tokens));  // 5 has no factor of the token counts
    const Tensor x = in.normal(DType::kBF16, {c.tokens, kRow});
    const Tensor rows = in.output(plain ? DType::kBF16 : DType::kF8E4M3, {slots / c.page, c.page, width});
    const MlaKvStoreArgs args{.latent = x.slice(1, kLatentAt, kLatentAt + L),
                              .rope = x.slice(1, kLatentAt + L, kLatentAt + L + R),
                              .loc = in.ints(loc),
                              .cache = {.rows = rows, .format = format}};
    const double read = double(L + R) * 2, written = double(width) * double(dtype_size(rows.dtype));
    // Rows of one page or of whole ones, compared as words of four bytes.
    Tensor words = c.tokens < c.page ? rows[0].slice(0, 0, c.tokens) : rows;
    const int64_t per_word = 4 / int64_t(dtype_size(rows.dtype));
    words.dtype = DType::kI32, words.shape[words.rank - 1] /= per_word;
    for (int d = 0; d + 1 < words.rank; ++d) words.stride[d] /= per_word;
    return Call<MlaKvStoreArgs>{
        .args = args, .work = {.bytes = double(c.tokens) * (read + written)}, .outputs = {words}, .limit = 0};
  });
}

const bool registered = [] {
  const auto add_formats = [](Where where, const MlaKvStoreCase& c) {
    add(where, "bf16", MlaCacheFormat::kPlain, c);
    add(where, "e4m3", MlaCacheFormat::kScaledE4M3, c);
    add(where, "v32", MlaCacheFormat::kFlashMlaV32, c);
  };
  for (const MlaKvStoreCase& c : kMlaKvStoreBenchCases) add_formats(Where::kBoth, c);
  for (const int64_t tokens : kMlaKvStoreGpuBenchTokens) add_formats(Where::kGpu, {tokens, 512, 64, 64, 0, 0, 0});
  return true;
}();

}  // namespace
}  // namespace sluice::benching
