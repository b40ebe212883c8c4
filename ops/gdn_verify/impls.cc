#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_verify/forms.h"

namespace sluice {

using gdn::Closing;

Status check_gdn_verify(const GdnVerifyArgs& a) {
  return gdn::check_args("gdn_verify", a, gdn::RowsPerSequence::kAny, Closing::kNever);
}

namespace {

Can vector_form(const GdnVerifyArgs& a) { return gdn::vector_form(a.state); }
Can cuda_form(const GdnVerifyArgs& a) { return gdn::cuda_form(a.state); }
Can tma_form(const GdnVerifyArgs& a) { return gdn::tma_form(a.state, {&a.q, &a.k, &a.v}, a.slots.dim(0)); }
size_t workspace(const Context& ctx, const GdnVerifyArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.k.dim(2), a.v.dim(2));
}
Status run_avx512(Context& ctx, const GdnVerifyArgs& a, std::byte* scratch) {
  return gdn::append_avx512(ctx, a, Closing::kNever, scratch);
}
Status run_avx2(Context& ctx, const GdnVerifyArgs& a, std::byte* scratch) {
  return gdn::append_avx2(ctx, a, Closing::kNever, scratch);
}
Status run_cpu(Context& ctx, const GdnVerifyArgs& a, std::byte* scratch) {
  return gdn::append_cpu(ctx, a, Closing::kNever, scratch);
}
Status run_reference(Context&, const GdnVerifyArgs& a, std::byte*) { return gdn::append_reference(a, Closing::kNever); }

constexpr Impl<GdnVerifyArgs> kImpls[] = {
    {.name = "sm100", .isa = Isa::kSm100a, .can = tma_form, .run = SLUICE_SM100_FORM(gdn_verify_tma)},
    {.name = "sm90", .isa = Isa::kSm90a, .can = tma_form, .run = SLUICE_SM90_FORM(gdn_verify_tma)},
    {.name = "portable", .isa = Isa::kCuda, .can = cuda_form, .run = SLUICE_CUDA_FORM(gdn_verify_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = vector_form, .workspace = workspace, .run = run_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = vector_form, .workspace = workspace, .run = run_avx2},
    {.name = "cpu", .can = vector_form, .workspace = workspace, .run = run_cpu},
    {.name = "reference", .run = run_reference},
};

}  // namespace

std::span<const Impl<GdnVerifyArgs>> gdn_verify_impls() { return kImpls; }
OpInfo gdn_verify_op_info() { return describe_op("gdn_verify", gdn_verify_impls()); }
Status gdn_verify(Context& ctx, const GdnVerifyArgs& a) {
  return dispatch("gdn_verify", gdn_verify_impls(), check_gdn_verify, ctx, a);
}

}  // namespace sluice
