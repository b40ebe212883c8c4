#include "core/check.h"
#include "ops/gated_rmsnorm/forms.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"

namespace sluice {

Status check_gated_rmsnorm(const GatedRmsnormArgs& a) {
  const auto& s = a.x.shape;
  ArgCheck c("gated_rmsnorm");
  c.rank("x", a.x, 2, 3).dtype("x", a.x, {DType::kF32, DType::kBF16}).inner_contiguous("x", a.x);
  const auto like_x = [&](const char* name, const Tensor& t) {
    c.dtype(name, t, {DType::kF32, DType::kBF16}).inner_contiguous(name, t);
    if (a.x.rank == 2) c.shape(name, t, {s[0], s[1]});
    if (a.x.rank == 3) c.shape(name, t, {s[0], s[1], s[2]});
  };
  like_x("z", a.z);
  like_x("y", a.y);
  const int64_t D = a.x.rank > 0 ? s[a.x.rank - 1] : 0;
  c.dtype("weight", a.weight, {DType::kF32, DType::kBF16}).shape("weight", a.weight, {D}).inner_contiguous("weight", a.weight);
  return c.status();
}

size_t gated_rmsnorm_workspace(const Context& ctx, const GatedRmsnormArgs& a) {
  return size_t(ctx.team->size()) * 2 * gated_rmsnorm_scratch_row(a.weight.shape[0]) * sizeof(float);
}

namespace {
// The kernel counts rows in 32 bits.
Can few_rows(const GatedRmsnormArgs& a) {
  const int64_t rows = a.x.dim(0) * (a.x.rank == 3 ? a.x.dim(1) : 1);
  return rows < (int64_t(1) << 31) ? Can{} : Can::no("there must be less than 2^31 rows");
}

constexpr Impl<GatedRmsnormArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = few_rows, .run = SLUICE_CUDA_FORM(gated_rmsnorm_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = gated_rmsnorm_workspace, .run = gated_rmsnorm_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = gated_rmsnorm_workspace, .run = gated_rmsnorm_avx2},
    {.name = "cpu", .workspace = gated_rmsnorm_workspace, .run = gated_rmsnorm_cpu},
    {.name = "reference", .run = gated_rmsnorm_reference},
};
}  // namespace

std::span<const Impl<GatedRmsnormArgs>> gated_rmsnorm_impls() { return kImpls; }
OpInfo gated_rmsnorm_op_info() { return describe_op("gated_rmsnorm", gated_rmsnorm_impls()); }
Status gated_rmsnorm(Context& ctx, const GatedRmsnormArgs& a) {
  return dispatch("gated_rmsnorm", gated_rmsnorm_impls(), check_gated_rmsnorm, ctx, a);
}

}  // namespace sluice
