// gdn_decode and gdn_verify on GPUs: a block a value head, see step.cuh.
#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/rows_op.cuh"

namespace sluice::gdn {

Status append_cuda(Context& ctx, const GdnArgs& a, Closing closing) {
  gpu::RowsOp op = gpu::make_rows_op(a, a.state);
  op.sequences.start = a.start.as<int32_t>();
  if (a.cu_seqlens.present()) op.sequences.cu_seqlens = a.cu_seqlens.as<int32_t>();
  if (a.has_state.present()) op.sequences.has_state = a.has_state.as<int32_t>();
  op.closes = closing == Closing::kWhenFull;
  if (!a.cu_seqlens.present()) return gpu::launch_append<true>(ctx, op, a.state.s.dtype, a.slots.dim(0));
  op.drafts = gpu::drafts_of(a.q.dim(0), a.slots.dim(0));
  return gpu::launch_append<false>(ctx, op, a.state.s.dtype, a.slots.dim(0));
}

}  // namespace sluice::gdn
