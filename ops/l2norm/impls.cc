#include "core/check.h"
#include "ops/l2norm/forms.h"
#include "ops/l2norm/l2norm.h"

namespace sluice {

Status check_l2norm(const L2normArgs& a) {
  const auto& s = a.x.shape;
  ArgCheck c("l2norm");
  c.rank("x", a.x, 2, 3).dtype("x", a.x, {DType::kF32, DType::kBF16}).inner_contiguous("x", a.x);
  c.dtype("y", a.y, {DType::kF32, DType::kBF16}).inner_contiguous("y", a.y);
  if (a.x.rank == 2) c.shape("y", a.y, {s[0], s[1]});
  if (a.x.rank == 3) c.shape("y", a.y, {s[0], s[1], s[2]});
  return c.status();
}

namespace {
constexpr Impl<L2normArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .run = SLUICE_CUDA_FORM(l2norm_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .run = l2norm_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .run = l2norm_avx2},
    {.name = "cpu", .run = l2norm_cpu},
    {.name = "reference", .run = l2norm_reference},
};
}  // namespace

std::span<const Impl<L2normArgs>> l2norm_impls() { return kImpls; }
OpInfo l2norm_op_info() { return describe_op("l2norm", l2norm_impls()); }
Status l2norm(Context& ctx, const L2normArgs& a) { return dispatch("l2norm", l2norm_impls(), check_l2norm, ctx, a); }

}  // namespace sluice
