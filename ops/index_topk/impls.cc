#include "core/check.h"
#include "ops/index_topk/candidates.h"
#include "ops/index_topk/forms.h"

namespace sluice {

Status check_index_topk(const IndexTopkArgs& args) {
  const auto& [scores, row_starts, lengths, page_table, page_size, offsets, out] = args;
  ArgCheck c("index_topk");
  c.rank("scores", scores, 2, 2).dtype("scores", scores, {DType::kF32}).inner_contiguous("scores", scores);
  const int64_t B = scores.shape[0];
  c.that(scores.shape[1] <= INT32_MAX, "scores has rows of 2^31 or more, and indices are int32");
  const auto per_row = [&](const char* name, const Tensor& t) {
    if (t.present()) c.dtype(name, t, {DType::kI32}).shape(name, t, {B}).inner_contiguous(name, t);
  };
  per_row("row_starts", row_starts), per_row("lengths", lengths), per_row("offsets", offsets);
  if (page_table.present()) {
    c.dtype("page_table", page_table, {DType::kI32}).rank("page_table", page_table, 2, 2);
    c.shape("page_table", page_table, {B, page_table.shape[1]}).inner_contiguous("page_table", page_table);
    c.that(page_size > 0 && page_size <= INT32_MAX, "page_size of a page_table must be between 1 and 2^31 - 1");
    c.that(!offsets.present(), "page_table and offsets are both there, wanted at most one");
  }
  c.rank("out", out, 2, 2).dtype("out", out, {DType::kI32}).shape("out", out, {B, out.shape[1]}).inner_contiguous("out", out);
  return c.status();
}

size_t index_topk_workspace(const Context& ctx, const IndexTopkArgs& args) {
  return size_t(ctx.team->size()) * size_t(Candidates::scratch(args.out.dim(1))) * sizeof(uint64_t);
}

namespace {
constexpr Impl<IndexTopkArgs> kImpls[] = {
    {.name = "portable",
     .isa = Isa::kCuda,
     .workspace = SLUICE_CUDA_FORM(index_topk_cuda_workspace),
     .run = SLUICE_CUDA_FORM(index_topk_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = index_topk_workspace, .run = index_topk_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = index_topk_workspace, .run = index_topk_avx2},
    {.name = "cpu", .workspace = index_topk_workspace, .run = index_topk_cpu},
    {.name = "reference", .run = index_topk_reference},
};
}  // namespace

std::span<const Impl<IndexTopkArgs>> index_topk_impls() { return kImpls; }
OpInfo index_topk_op_info() { return describe_op("index_topk", index_topk_impls()); }
Status index_topk(Context& ctx, const IndexTopkArgs& args) {
  return dispatch("index_topk", index_topk_impls(), check_index_topk, ctx, args);
}

}  // namespace sluice
