// The step of a chunk of one row, appended and closed at once: S is read once and written once. See ops/gdn_chunk/tma_append.cuh.
#include "ops/gdn_chunk/tma_rows.cuh"
#include "ops/gdn_decode_classic/forms.h"

namespace sluice {
namespace {

template <class X>
Status decode(Context& ctx, const GdnDecodeClassicArgs& a) {
  gdn::tma::RowsOp<X> op = gdn::tma::make_rows_op<X>(a, {.s = a.state});
  op.closes = true;
  return gdn::tma::launch_append<1>(ctx, op, a.state.dtype, a.slots.dim(0));
}

}  // namespace

Status gdn_decode_classic_tma(Context& ctx, const GdnDecodeClassicArgs& a, std::byte*) {
  return a.q.dtype == DType::kBF16 ? decode<Bf16>(ctx, a) : decode<float>(ctx, a);
}

}  // namespace sluice
