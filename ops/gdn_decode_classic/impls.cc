#include "core/check.h"
#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_decode_classic/body.h"

namespace sluice {

Status check_gdn_decode_classic(const GdnDecodeClassicArgs& a) {
  const std::initializer_list<DType> floats = {DType::kF32, DType::kBF16};
  ArgCheck c("gdn_decode_classic");
  c.rank("state", a.state, 4, 4).dtype("state", a.state, floats).rank("k", a.k, 3, 3);
  c.that(gdn::dense_swapped_slots(a.state), "state must be dense within a slot");
  const int64_t B = a.slots.dim(0), HK = a.k.dim(1), HV = a.state.dim(1), K = a.state.dim(2), V = a.state.dim(3);
  c.that(HK > 0 && HV % std::max<int64_t>(HK, 1) == 0, "the number of value heads must be a multiple of that of key heads");
  c.shape("q", a.q, {B, HK, K}).dtype("q", a.q, floats).inner_contiguous("q", a.q);
  c.shape("k", a.k, {B, HK, K}).dtype("k", a.k, floats).inner_contiguous("k", a.k);
  c.shape("v", a.v, {B, HV, V}).dtype("v", a.v, floats).inner_contiguous("v", a.v);
  c.shape("o", a.o, {B, HV, V}).dtype("o", a.o, floats).inner_contiguous("o", a.o);
  c.shape("log_g", a.log_g, {B, HV}).dtype("log_g", a.log_g, {DType::kF32}).inner_contiguous("log_g", a.log_g);
  c.shape("beta", a.beta, {B, HV}).dtype("beta", a.beta, {DType::kF32}).inner_contiguous("beta", a.beta);
  c.shape("slots", a.slots, {B}).dtype("slots", a.slots, {DType::kI32}).inner_contiguous("slots", a.slots);
  SLUICE_RETURN_IF_ERROR(c.status());
  return gdn::check_slots("gdn_decode_classic", a.slots, a.state.dim(0));
}

ClassicView make_classic_view(const GdnDecodeClassicArgs& a) {
  return {.q = gdn::make_row_view(a.q),
          .k = gdn::make_row_view(a.k),
          .v = gdn::make_row_view(a.v),
          .o = gdn::make_row_view(a.o),
          .log_g = a.log_g.as<float>(),
          .beta = a.beta.as<float>(),
          .log_g_stride = a.log_g.stride[0],
          .beta_stride = a.beta.stride[0],
          .slots = a.slots.as<int32_t>(),
          .HK = a.k.dim(1),
          .HV = a.v.dim(1),
          .K = a.k.dim(2),
          .V = a.v.dim(2),
          .state_pitch = a.state.stride[0],
          .scale = a.scale,
          .l2_eps = a.l2_eps,
          .qk_l2norm = a.qk_l2norm};
}

namespace {

Can whole_vectors(const GdnDecodeClassicArgs& a) {
  return a.k.dim(2) % 16 == 0 && a.v.dim(2) % 16 == 0 ? Can{} : Can::no("K and V must be multiples of 16");
}

Can cuda_form(const GdnDecodeClassicArgs& a) { return gdn::cuda_form({.s = a.state}); }
Can tma_form(const GdnDecodeClassicArgs& a) { return gdn::tma_form({.s = a.state}, {&a.q, &a.k, &a.v}, a.slots.dim(0)); }

size_t workspace(const Context& ctx, const GdnDecodeClassicArgs& a) {
  return size_t(ctx.team->size() * classic_scratch_row(a.k.dim(2), a.v.dim(2))) * sizeof(float);
}

constexpr Impl<GdnDecodeClassicArgs> kImpls[] = {
    {.name = "sm100", .isa = Isa::kSm100a, .can = tma_form, .run = SLUICE_SM100_FORM(gdn_decode_classic_tma)},
    {.name = "sm90", .isa = Isa::kSm90a, .can = tma_form, .run = SLUICE_SM90_FORM(gdn_decode_classic_tma)},
    {.name = "portable", .isa = Isa::kCuda, .can = cuda_form, .run = SLUICE_CUDA_FORM(gdn_decode_classic_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = whole_vectors, .workspace = workspace, .run = gdn_decode_classic_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = whole_vectors, .workspace = workspace, .run = gdn_decode_classic_avx2},
    {.name = "cpu", .can = whole_vectors, .workspace = workspace, .run = gdn_decode_classic_cpu},
    {.name = "reference", .run = gdn_decode_classic_reference},
};

}  // namespace

std::span<const Impl<GdnDecodeClassicArgs>> gdn_decode_classic_impls() { return kImpls; }
OpInfo gdn_decode_classic_op_info() { return describe_op("gdn_decode_classic", gdn_decode_classic_impls()); }
Status gdn_decode_classic(Context& ctx, const GdnDecodeClassicArgs& a) {
  return dispatch("gdn_decode_classic", gdn_decode_classic_impls(), check_gdn_decode_classic, ctx, a);
}

}  // namespace sluice
