#include "ops/gdn_chunk/view.h"

namespace sluice::gdn {

RowView make_row_view(const Tensor& t) { return {t.data, t.dtype == DType::kBF16, t.stride[0], t.stride[1]}; }

StateView make_state_view(const GdnState& s) {
  return {.s = s.s.as<float>(),
          .k = s.k.as<float>(),
          .u = s.u.as<float>(),
          .g = s.g.as<float>(),
          .s_pitch = s.s.stride[0],
          .k_pitch = s.k.stride[0],
          .u_pitch = s.u.stride[0],
          .g_pitch = s.g.stride[0]};
}

View make_view(const GdnArgs& a, Closing closing, const Checkpoints& checkpoints) {
  View v{.B = a.slots.dim(0), .HK = a.k.dim(1), .HV = a.v.dim(1), .K = a.k.dim(2), .V = a.v.dim(2)};
  v.q = make_row_view(a.q), v.k = make_row_view(a.k), v.v = make_row_view(a.v), v.o = make_row_view(a.o);
  v.log_g = a.log_g.as<float>(), v.log_g_stride = a.log_g.stride[0];
  v.beta = a.beta.as<float>(), v.beta_stride = a.beta.stride[0];
  if (a.cu_seqlens.present()) v.cu_seqlens = a.cu_seqlens.as<int32_t>();
  v.start = a.start.as<int32_t>(), v.slots = a.slots.as<int32_t>();
  if (a.has_state.present()) v.has_state = a.has_state.as<int32_t>();
  v.state = make_state_view(a.state);
  if (checkpoints.every > 0)
    v.checkpoints = {checkpoints.s.as<float>(), checkpoints.cu.as<int32_t>(), checkpoints.every, checkpoints.s.stride[0]};
  v.scale = a.scale, v.l2_eps = a.l2_eps, v.qk_l2norm = a.qk_l2norm;
  v.close = closing == Closing::kWhenFull;
  return v;
}

}  // namespace sluice::gdn
