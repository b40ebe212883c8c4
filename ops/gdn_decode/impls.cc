#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_decode/forms.h"

namespace sluice {

using gdn::Closing;

Status check_gdn_decode(const GdnDecodeArgs& a) {
  return gdn::check_args("gdn_decode", a, gdn::RowsPerSequence::kOne, Closing::kWhenFull);
}

namespace {

Can vector_form(const GdnDecodeArgs& a) { return gdn::vector_form(a.state); }
Can cuda_form(const GdnDecodeArgs& a) { return gdn::cuda_form(a.state); }
Can tma_form(const GdnDecodeArgs& a) { return gdn::tma_form(a.state, {&a.q, &a.k, &a.v}, a.slots.dim(0)); }
size_t workspace(const Context& ctx, const GdnDecodeArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.k.dim(2), a.v.dim(2));
}
Status run_avx512(Context& ctx, const GdnDecodeArgs& a, std::byte* scratch) {
  return gdn::append_avx512(ctx, a, Closing::kWhenFull, scratch);
}
Status run_avx2(Context& ctx, const GdnDecodeArgs& a, std::byte* scratch) {
  return gdn::append_avx2(ctx, a, Closing::kWhenFull, scratch);
}
Status run_cpu(Context& ctx, const GdnDecodeArgs& a, std::byte* scratch) {
  return gdn::append_cpu(ctx, a, Closing::kWhenFull, scratch);
}
Status run_reference(Context&, const GdnDecodeArgs& a, std::byte*) { return gdn::append_reference(a, Closing::kWhenFull); }

constexpr Impl<GdnDecodeArgs> kImpls[] = {
    {.name = "sm100", .isa = Isa::kSm100a, .can = tma_form, .run = SLUICE_SM100_FORM(gdn_decode_tma)},
    {.name = "sm90", .isa = Isa::kSm90a, .can = tma_form, .run = SLUICE_SM90_FORM(gdn_decode_tma)},
    {.name = "portable", .isa = Isa::kCuda, .can = cuda_form, .run = SLUICE_CUDA_FORM(gdn_decode_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = vector_form, .workspace = workspace, .run = run_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = vector_form, .workspace = workspace, .run = run_avx2},
    {.name = "cpu", .can = vector_form, .workspace = workspace, .run = run_cpu},
    {.name = "reference", .run = run_reference},
};

}  // namespace

std::span<const Impl<GdnDecodeArgs>> gdn_decode_impls() { return kImpls; }
OpInfo gdn_decode_op_info() { return describe_op("gdn_decode", gdn_decode_impls()); }
Status gdn_decode(Context& ctx, const GdnDecodeArgs& a) {
  return dispatch("gdn_decode", gdn_decode_impls(), check_gdn_decode, ctx, a);
}

}  // namespace sluice
