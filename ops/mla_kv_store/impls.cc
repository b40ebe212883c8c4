#include <cmath>

#include "core/alignment.h"
#include "core/check.h"
#include "ops/mla_kv_store/forms.h"
#include "ops/mla_kv_store/slots.h"

namespace sluice {
namespace {

void check_rows(ArgCheck& c, const char* name, const Tensor& t, int64_t T) {
  c.rank(name, t, 2, 3).inner_contiguous(name, t);
  if (t.rank == 3) c.shape(name, t, {T, 1, t.shape[2]});
  else c.shape(name, t, {T, t.shape[1]});
}

}  // namespace

void check_mla_cache(ArgCheck& c, const MlaCache& cache, int64_t latent_dim, int64_t rope_dim, int rank, int world) {
  const Tensor& rows = cache.rows;
  c.rank("cache.rows", rows, 2, 3).inner_contiguous("cache.rows", rows);
  c.that(rows.rank != 3 || rows.shape[1] > 0, "cache.rows has pages of 0 rows, wanted 1 or more");
  c.that(world >= 1 && rank >= 0 && rank < world, "rank must be one of 0 to world - 1");
  const int64_t slots = rows.shape[0] * (rows.rank == 3 ? rows.shape[1] : 1);
  c.that(world < 1 || slots <= kMostMlaLocations / world, "cache.rows has more than 2^32 slots in all shards");
  const int64_t width = rows.rank > 0 ? rows.shape[rows.rank - 1] : 0;
  switch (cache.format) {
    case MlaCacheFormat::kPlain:
      return void(c.that(width >= latent_dim + rope_dim, "cache.rows is narrower than latent and rope together"));
    case MlaCacheFormat::kScaledE4M3:
      c.dtype("cache.rows", rows, {DType::kF8E4M3});
      c.that(width >= latent_dim + rope_dim, "cache.rows is narrower than latent and rope together");
      return void(c.that(std::isfinite(cache.scale) && cache.scale > 0, "cache.scale must be positive and finite"));
    case MlaCacheFormat::kFlashMlaV32:
      c.dtype("cache.rows", rows, {DType::kU8, DType::kF8E4M3});
      c.that(latent_dim % kMlaV32Group == 0, "latent's length must be a multiple of 128 for a cache in FlashMLA's V32 format");
      c.that(width >= mla_v32_row_bytes(latent_dim, rope_dim), "cache.rows has fewer bytes than a row of the V32 format");
      c.that(rows_aligned(rows, 16), "cache.rows must have rows at multiples of 16 bytes for FlashMLA's V32 format");
      return;
  }
  c.that(false, "cache.format is none of MlaCacheFormat's");
}

// Only a CPU's tensors can be read here.
Status check_mla_locations(const char* op, const Tensor& loc, const MlaSlots& slots) {
  if (loc.on_gpu()) return {};
  const IndexView index(loc);
  for (int64_t t = 0; t < loc.dim(0); ++t)
    if (index[t] >= slots.locations && index[t] != slots.skip)
      return invalid(std::string(op) + ": loc[" + std::to_string(t) + "] is " + std::to_string(index[t]) + ", but the cache has " +
                     std::to_string(slots.slots) + " slots" +
                     (slots.world > 1 ? " in each of " + std::to_string(slots.world) + " shards" : ""));
  return {};
}

Status check_mla_kv_store(const MlaKvStoreArgs& args) {
  const auto& [latent, rope, loc, cache, skip, rank, world] = args;
  ArgCheck c("mla_kv_store");
  const int64_t T = latent.shape[0];
  check_rows(c, "latent", latent, T);
  if (rope.present()) check_rows(c, "rope", rope, T), c.dtype("rope", rope, {latent.dtype});
  c.dtype("loc", loc, {DType::kI32, DType::kI64}).shape("loc", loc, {T});
  const int64_t L = latent.rank > 0 ? latent.shape[latent.rank - 1] : 0, R = rope.rank > 0 ? rope.shape[rope.rank - 1] : 0;
  check_mla_cache(c, cache, L, R, rank, world);
  if (cache.format == MlaCacheFormat::kPlain) c.dtype("latent", latent, {cache.rows.dtype});
  else c.dtype("latent", latent, {DType::kF32, DType::kF16, DType::kBF16});
  SLUICE_RETURN_IF_ERROR(c.status());
  return check_mla_locations("mla_kv_store", loc, MlaSlots(cache, skip, rank, world));
}

namespace {
constexpr Impl<MlaKvStoreArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(mla_kv_store_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = mla_kv_store_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = mla_kv_store_avx2},
    {.name = "cpu", .run = mla_kv_store_cpu},
    {.name = "reference", .run = mla_kv_store_reference},
};
}  // namespace

std::span<const Impl<MlaKvStoreArgs>> mla_kv_store_impls() { return kImpls; }
OpInfo mla_kv_store_op_info() { return describe_op("mla_kv_store", mla_kv_store_impls()); }
Status mla_kv_store(Context& ctx, const MlaKvStoreArgs& args) {
  return dispatch("mla_kv_store", mla_kv_store_impls(), check_mla_kv_store, ctx, args);
}

}  // namespace sluice
