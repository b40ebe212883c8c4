#include "ops/gdn_chunk/forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_prefill/gdn_prefill.h"

namespace sluice {

using gdn::Closing;

Status check_gdn_prefill(const GdnPrefillArgs& a) {
  return gdn::check_args("gdn_prefill", a, gdn::RowsPerSequence::kAny, Closing::kWhenFull);
}

namespace {

Can whole_vectors(const GdnPrefillArgs& a) { return gdn::whole_vectors(a.k.dim(2), a.v.dim(2)); }
size_t workspace(const Context& ctx, const GdnPrefillArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.k.dim(2), a.v.dim(2));
}
Status run_avx512(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  return gdn::append_avx512(ctx, a, Closing::kWhenFull, scratch);
}
Status run_cpu(Context& ctx, const GdnPrefillArgs& a, std::byte* scratch) {
  return gdn::append_cpu(ctx, a, Closing::kWhenFull, scratch);
}
Status run_reference(Context&, const GdnPrefillArgs& a, std::byte*) { return gdn::append_reference(a, Closing::kWhenFull); }

constexpr Impl<GdnPrefillArgs> kImpls[] = {
    {.name = "avx512", .isa = Isa::kAvx512, .can = whole_vectors, .workspace = workspace, .run = run_avx512},
    {.name = "cpu", .can = whole_vectors, .workspace = workspace, .run = run_cpu},
    {.name = "reference", .run = run_reference},
};

}  // namespace

std::span<const Impl<GdnPrefillArgs>> gdn_prefill_impls() { return kImpls; }
OpInfo gdn_prefill_op_info() { return describe_op("gdn_prefill", gdn_prefill_impls()); }
Status gdn_prefill(Context& ctx, const GdnPrefillArgs& a) {
  return dispatch("gdn_prefill", gdn_prefill_impls(), check_gdn_prefill, ctx, a);
}

}  // namespace sluice
