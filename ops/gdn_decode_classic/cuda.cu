// The step of a chunk of one row, appended and closed at once: S is read once and written once. See ops/gdn_chunk/step.cuh.
#include "ops/gdn_chunk/rows_op.cuh"
#include "ops/gdn_decode_classic/forms.h"

namespace sluice {

Status gdn_decode_classic_cuda(Context& ctx, const GdnDecodeClassicArgs& a, std::byte*) {
  using namespace gdn::gpu;
  RowsOp op = make_rows_op(a, {.s = a.state});
  op.closes = true;
  return launch_append<true>(ctx, op, a.state.dtype, a.slots.dim(0));
}

}  // namespace sluice
