// The body of the vector forms: one task a sequence and value head.
#pragma once

#include "core/context.h"
#include "ops/gdn_chunk/append.h"
#include "ops/gdn_close/forms.h"

namespace sluice {

template <class V>
Status gdn_close_body(Context& ctx, const GdnCloseArgs& a, std::byte* scratch) {
  const gdn::StateView st = gdn::make_state_view(a.state);
  const int64_t HV = a.state.s.shape[1], K = a.state.s.shape[2], VD = a.state.s.shape[3], group = HV / a.state.k.shape[1];
  const auto* slots = static_cast<const int32_t*>(a.slots.data);
  const auto* rows = static_cast<const int32_t*>(a.rows.data);
  ctx.team->each(a.slots.shape[0] * HV, [&](int64_t task, int thread) {
    const int64_t b = task / HV, head = task % HV, slot = slots[b];
    if (slot < 0) return;
    gdn::close_rows<V>(rows[b], K, VD, st.s + slot * st.s_pitch + head * K * VD,
                       st.k + slot * st.k_pitch + head / group * K * kChunk, st.u + slot * st.u_pitch + head * kChunk * VD,
                       st.g + slot * st.g_pitch + head * kChunk, gdn::scratch_at(scratch, K, VD, thread));
  });
  return {};
}

}  // namespace sluice
