// The implementations, one a file.
#pragma once

#include "ops/gdn_chunk/view.h"
#include "ops/gdn_step/gdn_step.h"

namespace sluice {

Status gdn_step_reference(Context&, const GdnStepArgs&, std::byte*);
Status gdn_step_cpu(Context&, const GdnStepArgs&, std::byte*);
Status gdn_step_avx2(Context&, const GdnStepArgs&, std::byte*);
Status gdn_step_avx512(Context&, const GdnStepArgs&, std::byte*);
Status gdn_step_cuda(Context&, const GdnStepArgs&, std::byte*);
Status gdn_step_tma(Context&, const GdnStepArgs&, std::byte*);

// Whether there is one plain state, without open rows.
bool is_classic(const GdnStepArgs& a);

// Key heads: what the value heads leave of the projection's width.
int64_t step_key_heads(const GdnStepArgs& a);

// The state's part of the arguments. q, k, v and o are absent: they exist one head at a time, in scratch.
gdn::View make_step_view(const GdnStepArgs& a);

}  // namespace sluice
