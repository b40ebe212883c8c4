#include "core/check.h"
#include "ops/mla_rope_quantize/forms.h"
#include "ops/mla_rope_quantize/parts.h"

namespace sluice {
namespace {

// [T, H, length]
void check_q(ArgCheck& c, const char* name, const Tensor& x, int64_t T, int64_t H, int64_t length, DType dtype) {
  c.dtype(name, x, {dtype}).shape(name, x, {T, H, length}).inner_contiguous(name, x);
}
// [T, length] or [T, 1, length]
void check_k(ArgCheck& c, const char* name, const Tensor& x, int64_t T, int64_t length, DType dtype) {
  c.dtype(name, x, {dtype}).rank(name, x, 2, 3).inner_contiguous(name, x);
  if (x.rank == 3) c.shape(name, x, {T, 1, length});
  else c.shape(name, x, {T, length});
}

// Only a CPU's tensors can be read here.
Status check_positions(const Tensor& positions, int64_t table_rows) {
  if (positions.on_gpu()) return {};
  const IndexView index(positions);
  for (int64_t t = 0; t < positions.dim(0); ++t)
    if (index[t] < 0 || index[t] >= table_rows)
      return invalid("mla_rope_quantize: positions[" + std::to_string(t) + "] is " + std::to_string(index[t]) +
                     ", but cos_sin has rows 0 to " + std::to_string(table_rows - 1));
  return {};
}

}  // namespace

Status check_mla_rope_quantize(const MlaRopeQuantizeArgs& a) {
  ArgCheck c("mla_rope_quantize");
  const bool q = a.q_rope.present() || a.q_nope.present(), k = a.k_rope.present() || a.k_nope.present();
  const bool cache = a.cache.rows.present();
  c.that(q || k, "q and k are both missing");
  c.rank("positions", a.positions, 1, 1).dtype("positions", a.positions, {DType::kI32, DType::kI64});
  c.rank("cos_sin", a.cos_sin, 2, 2).dtype("cos_sin", a.cos_sin, {DType::kF32}).inner_contiguous("cos_sin", a.cos_sin);
  const int64_t T = a.positions.shape[0], R = a.cos_sin.shape[1], H = a.q_nope.shape[1];
  c.that(R % 2 == 0, "cos_sin has rows of odd length, wanted as many sines as cosines");
  const Tensor& nope = q ? a.q_nope : a.k_nope;
  const char* nope_name = q ? "q_nope" : "k_nope";
  c.rank(nope_name, nope, q ? 3 : 2, 3).dtype(nope_name, nope, {DType::kF32, DType::kF16, DType::kBF16});
  const int64_t N = nope.rank > 0 ? nope.shape[nope.rank - 1] : 0;
  const Tensor& out = q ? a.q_nope_out : a.k_nope_out;
  if (q || !cache) c.dtype(q ? "q_nope_out" : "k_nope_out", out, {DType::kF8E4M3, DType::kF8E5M2});
  if (q) {
    check_q(c, "q_nope", a.q_nope, T, H, N, nope.dtype), check_q(c, "q_rope", a.q_rope, T, H, R, nope.dtype);
    check_q(c, "q_nope_out", a.q_nope_out, T, H, N, out.dtype), check_q(c, "q_rope_out", a.q_rope_out, T, H, R, out.dtype);
  }
  if (k) check_k(c, "k_nope", a.k_nope, T, N, nope.dtype), check_k(c, "k_rope", a.k_rope, T, R, nope.dtype);
  if (k && !cache) check_k(c, "k_nope_out", a.k_nope_out, T, N, out.dtype), check_k(c, "k_rope_out", a.k_rope_out, T, R, out.dtype);
  if (!cache) {
    SLUICE_RETURN_IF_ERROR(c.status());
    return check_positions(a.positions, a.cos_sin.dim(0));
  }
  c.that(k, "there is a cache, but no k to store in it");
  c.that(!a.k_nope_out.present() && !a.k_rope_out.present(), "k_nope_out and k_rope_out must be absent where there is a cache");
  c.that(a.cache.format == MlaCacheFormat::kScaledE4M3, "cache.format must be kScaledE4M3");
  c.that(!q || out.dtype == DType::kF8E4M3, "q's outputs must be F8_E4M3, as the cache");
  check_mla_cache(c, a.cache, N, R, a.rank, a.world);
  c.that(a.cache.scale == 1 / a.scale_kv, "cache.scale must be 1 / scale_kv");
  c.dtype("loc", a.loc, {DType::kI32, DType::kI64}).shape("loc", a.loc, {T});
  SLUICE_RETURN_IF_ERROR(c.status());
  SLUICE_RETURN_IF_ERROR(check_positions(a.positions, a.cos_sin.dim(0)));
  return check_mla_locations("mla_rope_quantize", a.loc, MlaSlots(a.cache, a.reserved_skip_index, a.rank, a.world));
}

// Of one thread: a token's cosines and sines.
size_t mla_rope_quantize_workspace(const Context& ctx, const MlaRopeQuantizeArgs& args) {
  return size_t(ctx.team->size()) * 2 * size_t(mla_rope_table_length(args.cos_sin.shape[1])) * sizeof(float);
}

namespace {
constexpr Impl<MlaRopeQuantizeArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(mla_rope_quantize_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = mla_rope_quantize_workspace, .run = mla_rope_quantize_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = mla_rope_quantize_workspace, .run = mla_rope_quantize_avx2},
    {.name = "cpu", .workspace = mla_rope_quantize_workspace, .run = mla_rope_quantize_cpu},
    {.name = "reference", .run = mla_rope_quantize_reference},
};
}  // namespace

std::span<const Impl<MlaRopeQuantizeArgs>> mla_rope_quantize_impls() { return kImpls; }
OpInfo mla_rope_quantize_op_info() { return describe_op("mla_rope_quantize", mla_rope_quantize_impls()); }
Status mla_rope_quantize(Context& ctx, const MlaRopeQuantizeArgs& args) {
  return dispatch("mla_rope_quantize", mla_rope_quantize_impls(), check_mla_rope_quantize, ctx, args);
}

}  // namespace sluice
