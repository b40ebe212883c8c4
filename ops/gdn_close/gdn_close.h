// gdn_close: folds the open rows of some slots into their states, S <- e^{G_n-1} S + sum_j e^{G_n-1 - G_j} k_j u_j^T.
//
// With n = 64 this is the closing that gdn_prefill and gdn_decode do themselves (same function, same bits); the engine calls it
// after a verification that filled a chunk. With n < 64 it gives the state of the recurrence at any token, for export; the
// sequence then no longer stands at a multiple of 64, so its slot cannot be appended to. On a GPU a count outside 0 to R closes
// nothing.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {

struct GdnCloseArgs {
  Tensor slots;    // [B] i32, no two alike; < 0: skipped
  Tensor rows;     // [B] i32, 0 to 64: open rows of each
  GdnState state;  // s is written
};

template <class F>
void each_tensor(GdnCloseArgs& a, F&& f) {
  f(a.slots), f(a.rows), each_tensor(a.state, f);
}

Status check_gdn_close(const GdnCloseArgs& a);
std::span<const Impl<GdnCloseArgs>> gdn_close_impls();
Status gdn_close(Context& ctx, const GdnCloseArgs& a);

}  // namespace sluice
