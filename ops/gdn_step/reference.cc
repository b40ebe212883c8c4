#include "ops/gdn_chunk/reference.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/rows.h"
#include "ops/gated_rmsnorm/forms.h"
#include "ops/gdn_chunk/forms.h"
#include "ops/gdn_decode_classic/forms.h"
#include "ops/gdn_step/forms.h"
#include "ops/qkv_conv_split/forms.h"

namespace sluice {
namespace {

// What goes from one operator to the next.
struct Between {
  explicit Between(const GdnStepArgs& a)
      : B(a.slots.dim(0)), HK(step_key_heads(a)), HV(a.state.s.dim(1)), K(a.state.s.dim(2)), V(a.state.s.dim(3)) {
    std::iota(cu.begin(), cu.end(), 0);
  }
  int64_t B, HK, HV, K, V;
  std::vector<int32_t> cu = std::vector<int32_t>(B + 1);
  std::vector<float> q = keys(), k = keys(), v = values(), o = values(), log_g = gates(), beta = gates();
  std::vector<float> keys() const { return std::vector<float>(B * HK * K); }
  std::vector<float> values() const { return std::vector<float>(B * HV * V); }
  std::vector<float> gates() const { return std::vector<float>(B * HV); }
  Tensor of_keys(const std::vector<float>& x) const { return Tensor::of(x.data(), {B, HK, K}); }
  Tensor of_values(const std::vector<float>& x) const { return Tensor::of(x.data(), {B, HV, V}); }
  Tensor of_gates(const std::vector<float>& x) const { return Tensor::of(x.data(), {B, HV}); }
};

Status split(Context& ctx, const GdnStepArgs& a, const Between& m, const Tensor& ring) {
  return qkv_conv_split_reference(ctx,
                                  {.qkv = a.qkv,
                                   .b = a.b,
                                   .a = a.a,
                                   .weight = a.conv_weight,
                                   .A_log = a.A_log,
                                   .dt_bias = a.dt_bias,
                                   .conv_ring = ring,
                                   .cu_seqlens = Tensor::of(m.cu.data(), {m.B + 1}),
                                   .start = a.start,
                                   .slots = a.slots,
                                   .q = m.of_keys(m.q),
                                   .k = m.of_keys(m.k),
                                   .v = m.of_values(m.v),
                                   .log_g = m.of_gates(m.log_g),
                                   .beta = m.of_gates(m.beta),
                                   .l2_eps = a.l2_eps,
                                   .allow_neg_eigval = a.allow_neg_eigval},
                                  nullptr);
}

// A bf16 ring goes through a copy in fp32: what comes in now is used as it is, and rounded for the steps to come.
Status convolve(Context& ctx, const GdnStepArgs& a, const Between& m) {
  if (a.conv_ring.dtype == DType::kF32) return split(ctx, a, m, a.conv_ring);
  const int64_t slots = a.conv_ring.dim(0), R = a.conv_ring.dim(1), C = a.conv_ring.dim(2);
  std::vector<float> copy(slots * R * C);
  const auto each = [&](auto&& f) {
    for (int64_t i = 0; i < slots * R; ++i) f(a.conv_ring[i / R][i % R].as<Bf16>(), copy.data() + i * C);
  };
  each([&](const Bf16* ring, float* x) { std::copy_n(ring, C, x); });
  SLUICE_RETURN_IF_ERROR(split(ctx, a, m, Tensor::of(copy.data(), {slots, R, C})));
  each([&](Bf16* ring, const float* x) { std::transform(x, x + C, ring, [](float v) { return Bf16(v); }); });
  return {};
}

void clear_new_states(const GdnStepArgs& a) {
  const auto *slots = a.slots.as<int32_t>(), *start = a.start.as<int32_t>();
  visit_float(a.state.s, [&]<class S>(S*) {
    for (int64_t b = 0; b < a.slots.dim(0); ++b)
      if (slots[b] >= 0 && start[b] == 0) std::fill_n(a.state.s[slots[b]].as<S>(), a.state.s[slots[b]].numel(), S(0.0f));
  });
}

Status classic_step(Context& ctx, const GdnStepArgs& a, const Between& m) {
  clear_new_states(a);
  return gdn_decode_classic_reference(ctx,
                                      {.q = m.of_keys(m.q),
                                       .k = m.of_keys(m.k),
                                       .v = m.of_values(m.v),
                                       .log_g = m.of_gates(m.log_g),
                                       .beta = m.of_gates(m.beta),
                                       .slots = a.slots,
                                       .state = a.state.s,
                                       .o = m.of_values(m.o),
                                       .scale = a.scale},
                                      nullptr);
}

Status open_chunk_step(const GdnStepArgs& a, const Between& m) {
  return gdn::append_reference({.q = m.of_keys(m.q),
                                .k = m.of_keys(m.k),
                                .v = m.of_values(m.v),
                                .log_g = m.of_gates(m.log_g),
                                .beta = m.of_gates(m.beta),
                                .start = a.start,
                                .slots = a.slots,
                                .state = a.state,
                                .o = m.of_values(m.o),
                                .scale = a.scale},
                               gdn::Closing::kWhenFull);
}

}  // namespace

// The three references, one after the other.
Status gdn_step_reference(Context& ctx, const GdnStepArgs& a, std::byte*) {
  const Between m(a);
  SLUICE_RETURN_IF_ERROR(convolve(ctx, a, m));
  SLUICE_RETURN_IF_ERROR(is_classic(a) ? classic_step(ctx, a, m) : open_chunk_step(a, m));
  SLUICE_RETURN_IF_ERROR(gated_rmsnorm_reference(
      ctx, {.x = m.of_values(m.o), .z = a.z, .weight = a.norm_weight, .y = a.y, .eps = a.norm_eps}, nullptr));
  for (int64_t b = 0; b < m.B; ++b)
    for (int64_t head = 0; a.slots.as<int32_t>()[b] < 0 && head < m.HV; ++head)
      gdn::write_row(a.y, b, head, std::vector<double>(m.V, 0.0));
  return {};
}

}  // namespace sluice
