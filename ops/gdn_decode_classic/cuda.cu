// The step of a chunk of one row, appended and closed at once: S is read once and written once. See ops/gdn_chunk/step.cuh.
#include "ops/gdn_chunk/pool.cuh"
#include "ops/gdn_chunk/rows_op.cuh"
#include "ops/gdn_decode_classic/forms.h"

namespace sluice {

Status gdn_decode_classic_cuda(Context& ctx, const GdnDecodeClassicArgs& a, std::byte*) {
  using namespace gdn::gpu;
  RowsOp op{.pool = make_pool({.s = a.state}, a.k.dim(1)), .sequences = {.slots = a.slots.as<int32_t>()}};
  op.q = make_call_rows(a.q), op.k = make_call_rows(a.k), op.v = make_call_rows(a.v), op.o = make_call_rows(a.o);
  op.log_g = a.log_g.as<float>(), op.log_g_stride = a.log_g.stride[0];
  op.beta = a.beta.as<float>(), op.beta_stride = a.beta.stride[0];
  op.scale = a.scale, op.l2_eps = a.l2_eps, op.qk_l2norm = a.qk_l2norm;
  op.closes = true;
  return launch_append<true>(ctx, op, a.state.dtype, a.slots.dim(0));
}

}  // namespace sluice
