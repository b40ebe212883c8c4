#include "ops/gdn_chunk/reference.h"

#include <numeric>
#include <vector>

#include "ops/gated_rmsnorm/forms.h"
#include "ops/gdn_chunk/forms.h"
#include "ops/gdn_step/forms.h"
#include "ops/qkv_conv_split/forms.h"

namespace sluice {

// The three references, one after the other.
Status gdn_step_reference(Context& ctx, const GdnStepArgs& a, std::byte*) {
  const int64_t B = a.slots.dim(0), HK = a.state.k.dim(1), HV = a.state.s.dim(1), K = a.state.s.dim(2), V = a.state.s.dim(3);
  std::vector<int32_t> cu(B + 1);
  std::iota(cu.begin(), cu.end(), 0);
  std::vector<float> q(B * HK * K), k(B * HK * K), v(B * HV * V), o(B * HV * V), log_g(B * HV), beta(B * HV);
  const Tensor tq = Tensor::of(q.data(), {B, HK, K}), tk = Tensor::of(k.data(), {B, HK, K}), tv = Tensor::of(v.data(), {B, HV, V});
  const Tensor to = Tensor::of(o.data(), {B, HV, V});
  const Tensor tg = Tensor::of(log_g.data(), {B, HV}), tb = Tensor::of(beta.data(), {B, HV});
  SLUICE_RETURN_IF_ERROR(qkv_conv_split_reference(ctx,
                                                  {.qkv = a.qkv,
                                                   .b = a.b,
                                                   .a = a.a,
                                                   .weight = a.conv_weight,
                                                   .A_log = a.A_log,
                                                   .dt_bias = a.dt_bias,
                                                   .conv_ring = a.conv_ring,
                                                   .cu_seqlens = Tensor::of(cu.data(), {B + 1}),
                                                   .start = a.start,
                                                   .slots = a.slots,
                                                   .q = tq,
                                                   .k = tk,
                                                   .v = tv,
                                                   .log_g = tg,
                                                   .beta = tb,
                                                   .l2_eps = a.l2_eps,
                                                   .allow_neg_eigval = a.allow_neg_eigval},
                                                  nullptr));
  SLUICE_RETURN_IF_ERROR(gdn::append_reference({.q = tq,
                                                .k = tk,
                                                .v = tv,
                                                .log_g = tg,
                                                .beta = tb,
                                                .start = a.start,
                                                .slots = a.slots,
                                                .state = a.state,
                                                .o = to,
                                                .scale = a.scale},
                                               gdn::Closing::kWhenFull));
  SLUICE_RETURN_IF_ERROR(
      gated_rmsnorm_reference(ctx, {.x = to, .z = a.z, .weight = a.norm_weight, .y = a.y, .eps = a.norm_eps}, nullptr));
  for (int64_t b = 0; b < B; ++b)
    for (int64_t head = 0; a.slots.as<int32_t>()[b] < 0 && head < HV; ++head)
      gdn::write_row(a.y, b, head, std::vector<double>(V, 0.0));
  return {};
}

}  // namespace sluice
