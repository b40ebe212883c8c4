// gdn_verify: draft rows appended to the open chunks without closing them, so that rejecting the last of them is `start` moved
// back.
//
// start % 64 plus the rows of the call must be at most 64 for every sequence: the engine ends a draft at the chunk's end. When
// the accepted rows fill the chunk, the engine calls gdn_close. The same bits as gdn_decode, row by row. Tolerance: as gdn_decode.
//
// On a GPU, which cannot be asked for `start` ahead of the call, rows behind the end of the chunk are left out: their o is not
// written.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/gdn_chunk/args.h"

namespace sluice {

struct GdnVerifyArgs : GdnArgs {};

Status check_gdn_verify(const GdnVerifyArgs& a);
std::span<const Impl<GdnVerifyArgs>> gdn_verify_impls();
Status gdn_verify(Context& ctx, const GdnVerifyArgs& a);

}  // namespace sluice
