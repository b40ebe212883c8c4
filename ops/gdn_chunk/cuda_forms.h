// The portable GPU form of gdn_decode and gdn_verify, and what all operators on the open chunk ask of a GPU's pool.
#pragma once

#include "ops/gdn_chunk/forms.h"

namespace sluice::gdn {

// Whether the GPU's decode forms serve this state: sizes, and 16-byte alignment of every slot. `k` and `u` may be absent.
Can cuda_form(const GdnState& s);

Status append_cuda(Context& ctx, const GdnArgs& a, Closing closing);

}  // namespace sluice::gdn
