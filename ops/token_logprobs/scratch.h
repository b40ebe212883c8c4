// What the vector forms share.
#pragma once

#include "ops/sample/scan.h"
#include "ops/token_logprobs/forms.h"

namespace sluice {

struct TokenLogprobsScratch {
  int64_t V, groups, blocks;
  LogitBlock* block;  // [R, blocks]
  int32_t* above;     // [R, blocks]: logits that are larger than the token's
  float* group_max;   // [R, groups]
};

TokenLogprobsScratch token_logprobs_scratch(const TokenLogprobsArgs& a, std::byte* memory);

// Row r from its blocks and groups to all of its results.
void token_logprobs_finish_row(const TokenLogprobsArgs& a, int64_t r, const TokenLogprobsScratch& s);

}  // namespace sluice
