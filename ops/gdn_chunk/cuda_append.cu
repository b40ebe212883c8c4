// gdn_decode and gdn_verify on GPUs: a block a value head, see step.cuh.
#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/pool.cuh"
#include "ops/gdn_chunk/rows_op.cuh"

namespace sluice::gdn {

Status append_cuda(Context& ctx, const GdnArgs& a, Closing closing) {
  gpu::RowsOp op{.pool = gpu::make_pool(a.state, a.k.dim(1))};
  op.sequences = {.start = a.start.as<int32_t>(), .slots = a.slots.as<int32_t>()};
  if (a.cu_seqlens.present()) op.sequences.cu_seqlens = a.cu_seqlens.as<int32_t>();
  if (a.has_state.present()) op.sequences.has_state = a.has_state.as<int32_t>();
  op.q = gpu::make_call_rows(a.q), op.k = gpu::make_call_rows(a.k), op.v = gpu::make_call_rows(a.v),
  op.o = gpu::make_call_rows(a.o);
  op.log_g = a.log_g.as<float>(), op.log_g_stride = a.log_g.stride[0];
  op.beta = a.beta.as<float>(), op.beta_stride = a.beta.stride[0];
  op.scale = a.scale, op.l2_eps = a.l2_eps, op.qk_l2norm = a.qk_l2norm;
  op.closes = closing == Closing::kWhenFull;
  if (!a.cu_seqlens.present()) return gpu::launch_append<true>(ctx, op, a.state.s.dtype, a.slots.dim(0));
  op.drafts = gpu::drafts_of(a.q.dim(0), a.slots.dim(0));
  return gpu::launch_append<false>(ctx, op, a.state.s.dtype, a.slots.dim(0));
}

}  // namespace sluice::gdn
