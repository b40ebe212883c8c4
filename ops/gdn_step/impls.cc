#include "core/check.h"
#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_step/forms.h"

namespace sluice {

bool is_classic(const GdnStepArgs& a) { return !a.state.g.present(); }

int64_t step_key_heads(const GdnStepArgs& a) {
  return (a.qkv.dim(1) - a.state.s.dim(1) * a.state.s.dim(3)) / (2 * a.state.s.dim(2));
}

namespace {

constexpr const char* kOp = "gdn_step";

Status check_parameters(const GdnStepArgs& a, int64_t C, int64_t HV, int64_t V) {
  const std::initializer_list<DType> floats = {DType::kF32, DType::kBF16};
  const int64_t W = a.conv_weight.dim(1), R = a.conv_ring.dim(1);
  ArgCheck c(kOp);
  c.rank("conv_weight", a.conv_weight, 2, 2).that(W >= 2 && W <= 4, "conv_weight has a width outside 2 to 4");
  c.shape("conv_weight", a.conv_weight, {C, W}).dtype("conv_weight", a.conv_weight, floats);
  c.that(a.conv_weight.contiguous(), "conv_weight must be dense");
  c.shape("A_log", a.A_log, {HV}).dtype("A_log", a.A_log, floats).inner_contiguous("A_log", a.A_log);
  c.shape("dt_bias", a.dt_bias, {HV}).dtype("dt_bias", a.dt_bias, floats).inner_contiguous("dt_bias", a.dt_bias);
  c.shape("norm_weight", a.norm_weight, {V})
      .dtype("norm_weight", a.norm_weight, floats)
      .inner_contiguous("norm_weight", a.norm_weight);
  c.rank("conv_ring", a.conv_ring, 3, 3).shape("conv_ring", a.conv_ring, {a.state.s.dim(0), R, C});
  c.dtype("conv_ring", a.conv_ring, floats).inner_contiguous("conv_ring", a.conv_ring);
  c.that(R >= W && (R & (R - 1)) == 0, "conv_ring must hold a power of two of rows, no fewer than the weight's width");
  return c.status();
}

// One plain state, and a projection whose width leaves room for key heads.
Status check_classic(const GdnStepArgs& a) {
  const Tensor& s = a.state.s;
  ArgCheck c(kOp);
  c.rank("state.s", s, 4, 4).dtype("state.s", s, {DType::kF32, DType::kBF16}).rank("qkv", a.qkv, 2, 2);
  c.that(!a.state.k.present() && !a.state.u.present(), "state.k, state.u and state.g come together or not at all");
  c.that(gdn::dense_swapped_slots(s), "state.s must be dense within a slot");
  SLUICE_RETURN_IF_ERROR(c.status());
  const int64_t HV = s.dim(1), K = s.dim(2), keys = a.qkv.dim(1) - HV * s.dim(3);
  c.that(K > 0 && keys > 0 && keys % (2 * K) == 0, "qkv must hold q and k of whole heads beside v");
  SLUICE_RETURN_IF_ERROR(c.status());
  return c.that(HV % step_key_heads(a) == 0, "the number of value heads must be a multiple of that of key heads").status();
}

Status check_starts(const GdnStepArgs& a) {
  if (a.start.on_gpu()) return {};
  for (int64_t b = 0; b < a.slots.dim(0); ++b)
    if (const int32_t start = a.start.as<int32_t>()[b]; start < 0 && a.slots.as<int32_t>()[b] >= 0)
      return invalid("gdn_step: sequence " + std::to_string(b) + " starts at " + std::to_string(start) + ", wanted 0 or more");
  return {};
}

}  // namespace

Status check_gdn_step(const GdnStepArgs& a) {
  SLUICE_RETURN_IF_ERROR(is_classic(a) ? check_classic(a) : gdn::check_state(kOp, a.state));
  const std::initializer_list<DType> floats = {DType::kF32, DType::kBF16};
  const int64_t HK = is_classic(a) ? step_key_heads(a) : a.state.k.dim(1), HV = a.state.s.dim(1), K = a.state.s.dim(2),
                V = a.state.s.dim(3);
  const int64_t B = a.slots.dim(0), C = 2 * HK * K + HV * V;
  ArgCheck c(kOp);
  c.shape("qkv", a.qkv, {B, C}).dtype("qkv", a.qkv, floats).inner_contiguous("qkv", a.qkv);
  c.shape("z", a.z, {B, HV, V}).dtype("z", a.z, floats).inner_contiguous("z", a.z);
  c.shape("b", a.b, {B, HV}).dtype("b", a.b, floats).inner_contiguous("b", a.b);
  c.shape("a", a.a, {B, HV}).dtype("a", a.a, floats).inner_contiguous("a", a.a);
  c.shape("y", a.y, {B, HV, V}).dtype("y", a.y, floats).inner_contiguous("y", a.y);
  c.shape("slots", a.slots, {B}).dtype("slots", a.slots, {DType::kI32}).inner_contiguous("slots", a.slots);
  c.shape("start", a.start, {B}).dtype("start", a.start, {DType::kI32}).inner_contiguous("start", a.start);
  SLUICE_RETURN_IF_ERROR(c.status());
  SLUICE_RETURN_IF_ERROR(check_parameters(a, C, HV, V));
  SLUICE_RETURN_IF_ERROR(gdn::check_slots(kOp, a.slots, a.state.s.dim(0)));
  return check_starts(a);
}

gdn::View make_step_view(const GdnStepArgs& a) {
  gdn::View v{.B = a.slots.dim(0), .HK = a.state.k.dim(1), .HV = a.state.s.dim(1), .K = a.state.s.dim(2), .V = a.state.s.dim(3)};
  v.o = gdn::make_row_view(a.y);
  v.start = a.start.as<int32_t>(), v.slots = a.slots.as<int32_t>();
  v.state = gdn::make_state_view(a.state);
  v.scale = a.scale, v.l2_eps = a.l2_eps;
  return v;
}

namespace {

Can vector_form(const GdnStepArgs& a) {
  if (is_classic(a)) return Can::no("it needs a state with open rows");
  if (a.conv_ring.dtype != DType::kF32) return Can::no("the ring of the convolution must be f32");
  return gdn::vector_form(a.state);
}
Can cuda_form(const GdnStepArgs& a) { return gdn::cuda_form(a.state); }

Can tma_form(const GdnStepArgs& a) {
  const auto aligned = [](const Tensor& t, size_t bytes) { return reinterpret_cast<uintptr_t>(t.data) % bytes == 0; };
  const size_t taps = 4 * dtype_size(a.conv_weight.dtype);
  if (a.conv_weight.dim(1) != 4 || !aligned(a.conv_weight, taps))
    return Can::no("the convolution must have 4 taps, aligned as such");
  if (!aligned(a.conv_ring, 4) || a.conv_ring.stride[0] % 2 != 0 || a.conv_ring.stride[1] % 2 != 0)
    return Can::no("the ring's rows must begin at multiples of 4 bytes");
  if (a.conv_ring.stride[1] * a.conv_ring.dim(1) > INT32_MAX / 4) return Can::no("a slot's ring must be below 2 GiB");
  return gdn::tma_form(a.state, {&a.qkv, &a.z, &a.b, &a.a, &a.conv_weight, &a.norm_weight}, a.slots.dim(0));
}

size_t workspace(const Context& ctx, const GdnStepArgs& a) {
  return gdn::scratch_bytes(ctx.team->size(), a.state.s.dim(2), a.state.s.dim(3));
}

constexpr Impl<GdnStepArgs> kImpls[] = {
    {.name = "sm100", .isa = Isa::kSm100a, .can = tma_form, .run = SLUICE_SM100_FORM(gdn_step_tma)},
    {.name = "sm90", .isa = Isa::kSm90a, .can = tma_form, .run = SLUICE_SM90_FORM(gdn_step_tma)},
    {.name = "portable", .isa = Isa::kCuda, .can = cuda_form, .run = SLUICE_CUDA_FORM(gdn_step_cuda)},
    {.name = "avx512", .isa = Isa::kAvx512, .can = vector_form, .workspace = workspace, .run = gdn_step_avx512},
    {.name = "avx2", .isa = Isa::kAvx2, .can = vector_form, .workspace = workspace, .run = gdn_step_avx2},
    {.name = "cpu", .can = vector_form, .workspace = workspace, .run = gdn_step_cpu},
    {.name = "reference", .run = gdn_step_reference},
};

}  // namespace

std::span<const Impl<GdnStepArgs>> gdn_step_impls() { return kImpls; }
OpInfo gdn_step_op_info() { return describe_op(kOp, gdn_step_impls()); }
Status gdn_step(Context& ctx, const GdnStepArgs& a) { return dispatch(kOp, gdn_step_impls(), check_gdn_step, ctx, a); }

}  // namespace sluice
