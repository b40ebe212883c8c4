// gdn_decode and gdn_verify on compute capability 9.0 and up, see tma_append.cuh.
#include "ops/gdn_chunk/cuda_forms.h"
#include "ops/gdn_chunk/tma_rows.cuh"

namespace sluice::gdn {
namespace {

template <class X>
Status append(Context& ctx, const GdnArgs& a, Closing closing) {
  tma::RowsOp<X> op = tma::make_rows_op<X>(a, a.state);
  op.sequences.start = a.start.as<int32_t>();
  if (a.cu_seqlens.present()) op.sequences.cu_seqlens = a.cu_seqlens.as<int32_t>();
  if (a.has_state.present()) op.sequences.has_state = a.has_state.as<int32_t>();
  op.closes = closing == Closing::kWhenFull;
  const DType state = a.state.s.dtype;
  const int64_t B = a.slots.dim(0);
  // The first takes no more than one row; as many rows as sequences may also be several of one and none of another.
  if (!a.cu_seqlens.present() || a.q.dim(0) <= 1) return tma::launch_append<1>(ctx, op, state, B);
  if (a.q.dim(0) <= 2 * B) return tma::launch_append<2>(ctx, op, state, B);
  return tma::launch_append<4>(ctx, op, state, B);
}

}  // namespace

Status append_tma(Context& ctx, const GdnArgs& a, Closing closing) {
  return a.q.dtype == DType::kBF16 ? append<Bf16>(ctx, a, closing) : append<float>(ctx, a, closing);
}

}  // namespace sluice::gdn
