// gdn_decode: one row a sequence (cu_seqlens is absent, T = B); formula and state in ops/gdn_chunk/gdn_chunk.h.
// A chunk that fills up is closed. On the CPU the same bits as gdn_prefill. Tolerance: as gdn_prefill's fp32 forms; a bf16 pool
// rounds S when a chunk is closed, and o and u are computed in fp32 from what it holds.
#pragma once

#include <span>

#include "core/impl.h"
#include "ops/gdn_chunk/args.h"

namespace sluice {

struct GdnDecodeArgs : GdnArgs {};

Status check_gdn_decode(const GdnDecodeArgs& a);
std::span<const Impl<GdnDecodeArgs>> gdn_decode_impls();
Status gdn_decode(Context& ctx, const GdnDecodeArgs& a);

}  // namespace sluice
