#include <bit>

#include "core/check.h"
#include "ops/hadamard/forms.h"
#include "ops/hadamard/hadamard.h"

namespace sluice {

Status check_hadamard(const HadamardArgs& a) {
  const auto& s = a.x.shape;
  ArgCheck c("hadamard");
  c.rank("x", a.x, 2, 3).dtype("x", a.x, {DType::kF32, DType::kBF16}).inner_contiguous("x", a.x);
  c.dtype("y", a.y, {DType::kF32, DType::kBF16}).inner_contiguous("y", a.y);
  if (a.x.rank == 2) c.shape("y", a.y, {s[0], s[1]});
  if (a.x.rank == 3) c.shape("y", a.y, {s[0], s[1], s[2]});
  c.that(a.x.rank > 0 && std::has_single_bit(uint64_t(s[size_t(a.x.rank - 1)])), "x's rows have no power of two of elements");
  return c.status();
}

size_t hadamard_workspace(const Context& ctx, const HadamardArgs& a) {
  return size_t(ctx.team->size()) * size_t(hadamard_scratch_row(a.x.dim(a.x.rank - 1))) * sizeof(float);
}

namespace {

Can fits_registers(const HadamardArgs& a) {
  return a.x.dim(a.x.rank - 1) <= 1024 ? Can{} : Can::no("a row of more than 1024 elements does not fit a warp's registers");
}

constexpr Impl<HadamardArgs> kImpls[] = {
    {.name = "portable", .isa = Isa::kCuda, .can = fits_registers, .run = SLUICE_CUDA_FORM(hadamard_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .workspace = hadamard_workspace, .run = hadamard_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .workspace = hadamard_workspace, .run = hadamard_avx2},
    {.name = "cpu", .workspace = hadamard_workspace, .run = hadamard_cpu},
    {.name = "reference", .run = hadamard_reference},
};

}  // namespace

std::span<const Impl<HadamardArgs>> hadamard_impls() { return kImpls; }
OpInfo hadamard_op_info() { return describe_op("hadamard", hadamard_impls()); }
Status hadamard(Context& ctx, const HadamardArgs& a) { return dispatch("hadamard", hadamard_impls(), check_hadamard, ctx, a); }

}  // namespace sluice
