#include "core/check.h"
#include "ops/rmsnorm/forms.h"
#include "ops/rmsnorm/rmsnorm.h"

namespace sluice {

Status check_rmsnorm(const RmsnormArgs& a) {
  const auto& s = a.x.shape;
  ArgCheck c("rmsnorm");
  c.rank("x", a.x, 2, 3).dtype("x", a.x, {DType::kF32, DType::kBF16}).inner_contiguous("x", a.x);
  const auto like_x = [&](const char* name, const Tensor& t) {
    c.dtype(name, t, {DType::kF32, DType::kBF16}).inner_contiguous(name, t);
    if (a.x.rank == 2) c.shape(name, t, {s[0], s[1]});
    if (a.x.rank == 3) c.shape(name, t, {s[0], s[1], s[2]});
  };
  const bool quantised = a.quantised.q.present() || a.quantised.scale.present();
  if (a.y.present() || !quantised) like_x("y", a.y);
  if (a.residual.present()) like_x("residual", a.residual);
  if (a.residual_out.present()) like_x("residual_out", a.residual_out);
  const int64_t D = a.x.rank > 0 ? s[a.x.rank - 1] : 0;
  c.dtype("weight", a.weight, {DType::kF32, DType::kBF16}).shape("weight", a.weight, {D}).inner_contiguous("weight", a.weight);
  c.that(!a.norm_rounded_sum || a.residual_out.present(), "norm_rounded_sum needs residual_out, whose dtype gives the rounding");
  if (quantised) check_quantised_groups(c, a.quantised, a.x, D);
  return c.status();
}

size_t rmsnorm_workspace(const Context& ctx, const RmsnormArgs& a) {
  return size_t(ctx.team->size()) * rmsnorm_scratch_row(a.weight.shape[0]) * sizeof(float);
}

namespace {
// The kernels keep a row in registers and count rows in 32 bits.
Can fits_registers(const RmsnormArgs& a) {
  constexpr int64_t kMostElements = 32768, kMostRows = int64_t(1) << 31;
  if (!a.x.present()) return {};
  if (a.x.dim(a.x.rank - 1) > kMostElements) return Can::no("rows of more than 32768 elements do not fit a block's registers");
  return a.x.dim(0) * (a.x.rank == 3 ? a.x.dim(1) : 1) < kMostRows ? Can{} : Can::no("there must be less than 2^31 rows");
}

constexpr Impl<RmsnormArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = fits_registers, .run = SLUICE_CUDA_FORM(rmsnorm_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = rmsnorm_workspace, .run = rmsnorm_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = rmsnorm_workspace, .run = rmsnorm_avx2},
    {.name = "cpu", .workspace = rmsnorm_workspace, .run = rmsnorm_cpu},
    {.name = "reference", .run = rmsnorm_reference},
};
}  // namespace

std::span<const Impl<RmsnormArgs>> rmsnorm_impls() { return kImpls; }
OpInfo rmsnorm_op_info() { return describe_op("rmsnorm", rmsnorm_impls()); }
Status rmsnorm(Context& ctx, const RmsnormArgs& a) { return dispatch("rmsnorm", rmsnorm_impls(), check_rmsnorm, ctx, a); }

}  // namespace sluice
