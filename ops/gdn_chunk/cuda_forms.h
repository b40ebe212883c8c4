// The GPU forms of gdn_decode and gdn_verify, and what all operators on the open chunk ask of a GPU's pool.
#pragma once

#include <initializer_list>

#include "ops/gdn_chunk/forms.h"

namespace sluice::gdn {

// Whether the GPU's decode forms serve this state: sizes, and 16-byte alignment of every slot. `k` and `u` may be absent.
Can cuda_form(const GdnState& s);

// Whether those with the copy engine, sm90 and sm100, do: heads of 128 by 128, rows of one type, B sequences.
Can tma_form(const GdnState& s, std::initializer_list<const Tensor*> rows, int64_t B);

Status append_cuda(Context& ctx, const GdnArgs& a, Closing closing);
Status append_tma(Context& ctx, const GdnArgs& a, Closing closing);

}  // namespace sluice::gdn
