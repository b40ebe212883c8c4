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
// The same of a tensor whose last two dimensions are swapped on a GPU.
bool dense_swapped_slots(const Tensor& t);
// Each slot below S.
Status check_slots(const char* op, const Tensor& slots, int64_t S);

// Whether the CPU's vector forms, which have no tails, serve this state.
Can vector_form(const GdnState& s);

Status append_reference(const GdnArgs& a, Closing closing, const Checkpoints& checkpoints = {});
Status append_cpu(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch, const Checkpoints& checkpoints = {});
Status append_avx2(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch, const Checkpoints& checkpoints = {});
Status append_avx512(Context& ctx, const GdnArgs& a, Closing closing, std::byte* scratch, const Checkpoints& checkpoints = {});

}  // namespace sluice::gdn
