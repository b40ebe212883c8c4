// token_logprobs: what a server says of the model's own distribution, at each row of logits.
//
//   logprobs[r] = logits[r, ids[r]] - log(sum_v e^logits[r, v]), natural
//   ranks[r]    = 1 + the number of tokens with a larger logit
//   best_ids[r, i], best_logprobs[r, i], i < counts[r]: the best tokens, in order of (logit down, id up)
//
// No temperature, no filter, no penalty: those are sample's. Equal logits share a rank, that of the first of them.
//
// Tolerance: ranks and ids equal; logprobs absolute 1e-5 + 1e-6 |logprob|.
// Where there is nothing to say, logprobs are NaN, ranks 0 and ids -1: for ids[r] = -1; from counts[r], or from V, to N; and all of
// a row with a logit that is NaN or infinite, which the caller reports. On a GPU, where ids and counts cannot be seen ahead, an id
// from V on is as -1, and counts are cut to 0 to N.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr int kMostTokenLogprobs = 20;  // of a row; what OpenAI's API and vLLM allow

struct TokenLogprobsArgs {
  Tensor logits;         // [R, V] f32, stride free in dimension 0
  Tensor ids;            // [R] i32, -1 or below V
  Tensor logprobs;       // [R] f32
  Tensor ranks;          // [R] i32
  Tensor counts;         // [R] i32, 0 to N; this and the next two may be absent together
  Tensor best_ids;       // [R, N] i32, N at most kMostTokenLogprobs
  Tensor best_logprobs;  // [R, N] f32
};

template <class F>
void each_tensor(TokenLogprobsArgs& a, F&& f) {
  f(a.logits), f(a.ids), f(a.logprobs), f(a.ranks), f(a.counts), f(a.best_ids), f(a.best_logprobs);
}

Status check_token_logprobs(const TokenLogprobsArgs& a);
std::span<const Impl<TokenLogprobsArgs>> token_logprobs_impls();
Status token_logprobs(Context& ctx, const TokenLogprobsArgs& a);

}  // namespace sluice
