#include "ops/gdn_chunk/forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_decode/gdn_decode.h"

namespace sluice {

using gdn::Closing;

Status check_gdn_decode(const GdnDecodeArgs& a) {
  return gdn::check_args("gdn_decode", a, gdn::RowsPerSequence::kOne, Closing::kWhenFull);
}

namespace {

Can whole_vectors(const GdnDecodeArgs& a) { return gdn::whole_vectors(a.k.dim(2), a.v.dim(2)); }
size_t workspace(const Context& ctx, const GdnDecodeArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.k.dim(2), a.v.dim(2));
}
Status run_avx512(Context& ctx, const GdnDecodeArgs& a, std::byte* scratch) {
  return gdn::append_avx512(ctx, a, Closing::kWhenFull, scratch);
}
Status run_cpu(Context& ctx, const GdnDecodeArgs& a, std::byte* scratch) {
  return gdn::append_cpu(ctx, a, Closing::kWhenFull, scratch);
}
Status run_reference(Context&, const GdnDecodeArgs& a, std::byte*) { return gdn::append_reference(a, Closing::kWhenFull); }

constexpr Impl<GdnDecodeArgs> kImpls[] = {
    {.name = "avx512", .isa = Isa::kAvx512, .can = whole_vectors, .workspace = workspace, .run = run_avx512},
    {.name = "cpu", .can = whole_vectors, .workspace = workspace, .run = run_cpu},
    {.name = "reference", .run = run_reference},
};

}  // namespace

std::span<const Impl<GdnDecodeArgs>> gdn_decode_impls() { return kImpls; }
OpInfo gdn_decode_op_info() { return describe_op("gdn_decode", gdn_decode_impls()); }
Status gdn_decode(Context& ctx, const GdnDecodeArgs& a) {
  return dispatch("gdn_decode", gdn_decode_impls(), check_gdn_decode, ctx, a);
}

}  // namespace sluice
