#include <cmath>

#include "core/check.h"
#include "ops/index_cache/index_cache.h"
#include "ops/indexer_prepare/forms.h"
#include "ops/indexer_prepare/indexer_prepare.h"

namespace sluice {
namespace {

void check_query(ArgCheck& c, const IndexerQuery& q, int64_t T) {
  const int64_t H = q.x.shape[1], D = q.x.shape[2];
  c.rank("q.x", q.x, 3, 3).dtype("q.x", q.x, {DType::kF32, DType::kBF16}).inner_contiguous("q.x", q.x).shape("q.x", q.x, {T, H, D});
  c.dtype("q.out", q.out, {DType::kF8E4M3, DType::kF32, DType::kBF16}).shape("q.out", q.out, {T, H, D});
  c.inner_contiguous("q.out", q.out);
  if (q.scale.present()) {
    c.that(q.out.dtype == DType::kF8E4M3, "q.scale is there, but q.out is not F8_E4M3");
    c.dtype("q.scale", q.scale, {DType::kF32}).shape("q.scale", q.scale, {T, H});
  }
  if (!q.weights.present() && !q.gate.present()) return;
  c.dtype("q.weights", q.weights, {DType::kF32, DType::kBF16}).shape("q.weights", q.weights, {T, H});
  c.dtype("q.gate", q.gate, {DType::kF32}).shape("q.gate", q.gate, {T, H});
}

void check_key(ArgCheck& c, const IndexerKey& k, int64_t T) {
  const int64_t D = k.x.shape[1];
  c.rank("k.x", k.x, 2, 2).dtype("k.x", k.x, {DType::kF32, DType::kBF16}).inner_contiguous("k.x", k.x).shape("k.x", k.x, {T, D});
  c.dtype("k.norm_weight", k.norm_weight, {DType::kF32, DType::kBF16}).shape("k.norm_weight", k.norm_weight, {D});
  c.inner_contiguous("k.norm_weight", k.norm_weight);
  c.dtype("k.norm_bias", k.norm_bias, {k.norm_weight.dtype}).shape("k.norm_bias", k.norm_bias, {D});
  c.inner_contiguous("k.norm_bias", k.norm_bias);
  c.that(k.out.present() || k.cache.present(), "k.out and k.cache are both missing");
  if (k.out.present())
    c.dtype("k.out", k.out, {DType::kF32, DType::kBF16}).inner_contiguous("k.out", k.out).shape("k.out", k.out, {T, D});
  if (!k.cache.present()) return;
  check_index_cache(c, "k.cache", k.cache);
  c.that(D == kIndexDim, "a key's row has not the 128 elements that the index cache holds");
  c.dtype("k.loc", k.loc, {DType::kI32, DType::kI64}).shape("k.loc", k.loc, {T});
}

}  // namespace

Status check_indexer_prepare(const IndexerPrepareArgs& a) {
  ArgCheck c("indexer_prepare");
  c.rank("positions", a.positions, 1, 1).dtype("positions", a.positions, {DType::kI32, DType::kI64});
  const int64_t T = a.positions.shape[0];
  c.that(a.q.x.present() || a.k.x.present(), "q.x and k.x are both missing");
  if (a.q.x.present()) check_query(c, a.q, T);
  if (a.k.x.present()) check_key(c, a.k, T);
  const int64_t D = indexer_dim(a), R = a.cos_sin.shape[1];
  if (a.q.x.present() && a.k.x.present()) c.that(a.k.x.shape[1] == D, "rows of q.x and k.x differ in length");
  c.rank("cos_sin", a.cos_sin, 2, 2).dtype("cos_sin", a.cos_sin, {DType::kF32}).inner_contiguous("cos_sin", a.cos_sin);
  c.that(D > 0 && R % 2 == 0 && R <= D, "cos_sin's rows must be even in length and no longer than those of q and k");
  c.that(a.cos_sin.shape[0] > 0 || T == 0, "cos_sin has no positions");
  c.that(!a.hadamard || std::has_single_bit(uint64_t(D)), "Hadamard wants rows of a power of two of elements");
  return c.status();
}

float indexer_gate_factor(const IndexerPrepareArgs& a) {
  return a.q.x.present() && a.q.x.numel() > 0 ? float(1 / std::sqrt(double(a.q.x.dim(1) * a.q.x.dim(2)))) : 0.0f;
}

size_t indexer_prepare_workspace(const Context& ctx, const IndexerPrepareArgs& a) {
  return size_t(ctx.team->size()) * size_t(IndexerScratchSizes(a).thread()) * sizeof(float);
}

namespace {

Can fits_shared_memory(const IndexerPrepareArgs& a) {
  return indexer_dim(a) <= 1024 ? Can{} : Can::no("its rows have more than 1024 elements");
}

constexpr Impl<IndexerPrepareArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = fits_shared_memory, .run = SLUICE_CUDA_FORM(indexer_prepare_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = indexer_prepare_workspace, .run = indexer_prepare_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = indexer_prepare_workspace, .run = indexer_prepare_avx2},
    {.name = "cpu", .workspace = indexer_prepare_workspace, .run = indexer_prepare_cpu},
    {.name = "reference", .run = indexer_prepare_reference},
};

}  // namespace

std::span<const Impl<IndexerPrepareArgs>> indexer_prepare_impls() { return kImpls; }
OpInfo indexer_prepare_op_info() { return describe_op("indexer_prepare", indexer_prepare_impls()); }
Status indexer_prepare(Context& ctx, const IndexerPrepareArgs& a) {
  return dispatch("indexer_prepare", indexer_prepare_impls(), check_indexer_prepare, ctx, a);
}

}  // namespace sluice
