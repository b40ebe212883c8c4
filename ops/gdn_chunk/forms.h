// What gdn_prefill, gdn_decode and gdn_verify share: the door and the three forms. They are one computation that differs in who
// says how many rows there are and in who closes a full chunk, so each form exists once.
#pragma once

#include "core/impl.h"
#include "ops/gdn_chunk/view.h"

namespace sluice::gdn {

enum class RowsPerSequence : bool { kOne, kAny };

// Shapes, dtypes and the values of cu_seqlens, start, slots and has_state.
Status check_args(const char* op, const GdnArgs& a, RowsPerSequence rows, Closing closing);
// The pool's four tensors, for HK, HV, K and V of its own.
Status check_state(const char* op, const GdnState& s);

// Dense in all dimensions but the first.
bool dense_slots(const Tensor& t);
// Each slot below S.
Status check_slots(const char* op, const Tensor& slots, int64_t S);

// The vector forms have no tails.
Can whole_vectors(int64_t K, int64_t V);

Status append_reference(const GdnArgs& a, Closing closing);
Status append_cpu(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch);
Status append_avx512(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch);

}  // namespace sluice::gdn
