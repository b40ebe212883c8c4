#include "core/check.h"
#include "ops/merge_state/forms.h"
#include "ops/merge_state/merge_state.h"

namespace sluice {

Status check_merge_state(const MergeStateArgs& args) {
  const auto& [a, indptr, b, out] = args;
  ArgCheck c("merge_state");
  c.rank("a.v", a.v, 3, 3).inner_contiguous("a.v", a.v);
  c.dtype("a.v", a.v, {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3});
  c.dtype("a.lse", a.lse, {DType::kF32}).shape("a.lse", a.lse, {a.v.shape[0], a.v.shape[1]});
  const bool many = indptr.present();
  if (many) c.rank("indptr", indptr, 1, 1).dtype("indptr", indptr, {DType::kI32}).inner_contiguous("indptr", indptr);
  if (many) c.that(indptr.shape[0] > 0, "indptr is empty, wanted an entry more than there are output tokens");
  const int64_t T = many ? indptr.shape[0] - 1 : a.v.shape[0], H = a.v.shape[1], D = a.v.shape[2];
  if (b.v.present() || b.lse.present()) {
    c.dtype("b.v", b.v, {a.v.dtype}).shape("b.v", b.v, {T, H, D}).inner_contiguous("b.v", b.v);
    c.dtype("b.lse", b.lse, {DType::kF32}).shape("b.lse", b.lse, {T, H});
  }
  c.dtype("out.v", out.v, {DType::kF32, DType::kF16, DType::kBF16})
      .shape("out.v", out.v, {T, H, D})
      .inner_contiguous("out.v", out.v);
  if (out.lse.present()) c.dtype("out.lse", out.lse, {DType::kF32}).shape("out.lse", out.lse, {T, H});
  return c.status();
}

size_t merge_state_workspace(const Context& ctx, const MergeStateArgs& args) {
  return size_t(ctx.team->size()) * size_t(merge_state_scratch_row(args.out.v.dim(2))) * sizeof(float);
}

namespace {
constexpr Impl<MergeStateArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(merge_state_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = merge_state_workspace, .run = merge_state_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = merge_state_workspace, .run = merge_state_avx2},
    {.name = "cpu", .workspace = merge_state_workspace, .run = merge_state_cpu},
    {.name = "reference", .run = merge_state_reference},
};
}  // namespace

std::span<const Impl<MergeStateArgs>> merge_state_impls() { return kImpls; }
OpInfo merge_state_op_info() { return describe_op("merge_state", merge_state_impls()); }
Status merge_state(Context& ctx, const MergeStateArgs& args) {
  return dispatch("merge_state", merge_state_impls(), check_merge_state, ctx, args);
}

}  // namespace sluice
