#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_close/forms.h"

namespace sluice {

Status check_gdn_close(const GdnCloseArgs& a) {
  SLUICE_RETURN_IF_ERROR(gdn::check_state("gdn_close", a.state));
  const int64_t B = a.slots.dim(0);
  ArgCheck c("gdn_close");
  c.shape("slots", a.slots, {B}).dtype("slots", a.slots, {DType::kI32}).inner_contiguous("slots", a.slots);
  c.shape("rows", a.rows, {B}).dtype("rows", a.rows, {DType::kI32}).inner_contiguous("rows", a.rows);
  SLUICE_RETURN_IF_ERROR(c.status());
  SLUICE_RETURN_IF_ERROR(gdn::check_slots("gdn_close", a.slots, a.state.s.dim(0)));
  if (a.slots.on_gpu()) return {};
  const int64_t R = a.state.g.dim(2);
  for (int64_t b = 0; b < B; ++b) {
    const int32_t rows = a.rows.as<int32_t>()[b];
    if (a.slots.as<int32_t>()[b] >= 0 && (rows < 0 || rows > R))
      return invalid("gdn_close: sequence " + std::to_string(b) + " has " + std::to_string(rows) + " open rows, wanted 0 to " +
                     std::to_string(R));
  }
  return {};
}

namespace {

Can vector_form(const GdnCloseArgs& a) { return gdn::vector_form(a.state); }
Can cuda_form(const GdnCloseArgs& a) { return gdn::cuda_form(a.state); }
Can tma_form(const GdnCloseArgs& a) { return gdn::tma_form(a.state, {}, a.slots.dim(0)); }

size_t workspace(const Context& ctx, const GdnCloseArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.state.s.dim(2), a.state.s.dim(3));
}

constexpr Impl<GdnCloseArgs> kImpls[] = {
    {.name = "sm100", .isa = Isa::kSm100a, .can = tma_form, .run = SLUICE_SM100_FORM(gdn_close_tma)},
    {.name = "sm90", .isa = Isa::kSm90a, .can = tma_form, .run = SLUICE_SM90_FORM(gdn_close_tma)},
    {.name = "portable", .isa = Isa::kCuda, .can = cuda_form, .run = SLUICE_CUDA_FORM(gdn_close_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = vector_form, .workspace = workspace, .run = gdn_close_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = vector_form, .workspace = workspace, .run = gdn_close_avx2},
    {.name = "cpu", .can = vector_form, .workspace = workspace, .run = gdn_close_cpu},
    {.name = "reference", .run = gdn_close_reference},
};

}  // namespace

std::span<const Impl<GdnCloseArgs>> gdn_close_impls() { return kImpls; }
OpInfo gdn_close_op_info() { return describe_op("gdn_close", gdn_close_impls()); }
Status gdn_close(Context& ctx, const GdnCloseArgs& a) { return dispatch("gdn_close", gdn_close_impls(), check_gdn_close, ctx, a); }

}  // namespace sluice
