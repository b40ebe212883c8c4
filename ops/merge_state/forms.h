// The implementations, one a file.
#pragma once

#include "base/checked.h"
#include "ops/merge_state/merge_state.h"

namespace sluice {

Status merge_state_reference(Context&, const MergeStateArgs&, std::byte*);
Status merge_state_cpu(Context&, const MergeStateArgs&, std::byte*);
Status merge_state_avx2(Context&, const MergeStateArgs&, std::byte*);
Status merge_state_avx512(Context&, const MergeStateArgs&, std::byte*);
Status merge_state_cuda(Context&, const MergeStateArgs&, std::byte*);

// The vector forms' scratch: a row of fp32 sums for each thread, this many elements.
constexpr int64_t merge_state_scratch_row(int64_t head_dim) { return round_up(head_dim, 16); }
size_t merge_state_workspace(const Context& ctx, const MergeStateArgs& args);

}  // namespace sluice
