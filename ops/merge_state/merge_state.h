// merge_state: one attention result from partial ones over disjoint sets of keys.
//
// A state is what attention over some keys gives: the weighted mean v of their values, and lse, the log-sum-exp of their scores.
// Output token t merges, in this order,
//
//   row t of a, or rows indptr[t] to indptr[t + 1] - 1 of a where there is an indptr, and then row t of b where there is a b:
//
//   m = max lse,  w = e^(lse - m),  v = sum(w v) / sum(w),  lse = m + log(sum(w))
//
// So {a, b} is the two-way merge, {a, indptr} the n-way one, and {a, indptr, b} adds partial results to a running one. Each lse
// has its base. An lse of -inf or +inf is an empty state: its v counts for nothing, be it NaN. Without states, or with empty ones
// only, v = 0 and lse = -inf. One state that is not empty comes out as it went in. A NaN lse gives NaN.
//
// Tolerance: fp32 outputs rel_rms 2e-6, max_rel 2e-5; bf16 outputs 4e-3, 8e-3; fp16 outputs 5e-4, 1e-3. A GPU compares in a's
// base in fp32: where b's is another one, a weight's relative error is up to 6e-8 |lse|.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

// Of a log-sum-exp: log(sum e^s), or log2 of the same sum, as FlashInfer keeps it.
enum class LseBase : unsigned char { kE, kTwo };

struct AttentionState {
  Tensor v;    // [R, H, D] f32, f16, bf16 or, of an input, f8 e4m3; stride free but in the last dimension
  Tensor lse;  // [R, H] f32, strides free
  LseBase base = LseBase::kE;
  float scale = 1;  // times this, v is what it stands for
};

struct MergeStateArgs {
  AttentionState a;    // [S, H, D]; without an indptr S = T
  Tensor indptr;       // [T + 1] i32, ascending from >= 0 to <= S; may be absent
  AttentionState b;    // [T, H, D], v of a's type; may be absent
  AttentionState out;  // [T, H, D]; lse may be absent. v and lse may be b's, or a's without an indptr
};

template <class F>
void each_tensor(MergeStateArgs& args, F&& f) {
  f(args.a.v), f(args.a.lse), f(args.indptr), f(args.b.v), f(args.b.lse), f(args.out.v), f(args.out.lse);
}

Status check_merge_state(const MergeStateArgs& args);
std::span<const Impl<MergeStateArgs>> merge_state_impls();
Status merge_state(Context& ctx, const MergeStateArgs& args);

}  // namespace sluice
