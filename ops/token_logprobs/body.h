// The body of the vector forms: two passes over the logits in blocks, then finish.cc for each row.
#pragma once

#include <algorithm>

#include "ops/token_logprobs/scratch.h"

namespace sluice {

template <class V>
SLUICE_INLINE int32_t count_above(const float* x, int64_t n, float than) {
  const auto bound = V::set1(than);
  int32_t count = 0;
  for (int64_t i = 0; i < n; i += simd::kLanes)
    count += __builtin_popcount(V::greater(load_logits<V>(x, i, n, -__builtin_inff()), bound));
  return count;
}

// The stages of a row. Each sees what the ones before it left in the scratch, whoever ran them.
template <class V>
struct TokenLogprobsStages {
  const TokenLogprobsArgs& a;
  const TokenLogprobsScratch& s;

  const float* logits(int64_t r) const { return static_cast<const float*>(a.logits.data) + r * a.logits.stride[0]; }

  void scan(int64_t r, int64_t block) const {
    const int64_t from = block * kLogitBlock;
    scan_logits<V>(logits(r) + from, std::min(kLogitBlock, s.V - from), s.group_max + r * s.groups + from / kLogitGroup,
                   s.block[r * s.blocks + block]);
  }
  void sum(int64_t r, int64_t block) const {
    const int64_t from = block * kLogitBlock, n = std::min(kLogitBlock, s.V - from);
    LogitBlock* of_row = s.block + r * s.blocks;
    of_row[block].sum = sum_logits<V>(logits(r) + from, n, max_of_blocks(of_row, s.blocks));
    const int32_t id = static_cast<const int32_t*>(a.ids.data)[r];
    s.above[r * s.blocks + block] = id < 0 ? 0 : count_above<V>(logits(r) + from, n, logits(r)[id]);
  }
};

// Many rows: each is one thread's, which finds it in its cache again for the second pass. Few: threads share the blocks. The bits
// are the same.
template <class V>
Status token_logprobs_body(Context& ctx, const TokenLogprobsArgs& a, std::byte* memory) {
  constexpr int64_t kGrain = 4;  // blocks worth waking a thread for
  const int64_t R = a.logits.shape[0];
  const TokenLogprobsScratch s = token_logprobs_scratch(a, memory);
  const TokenLogprobsStages<V> stages{a, s};
  const int64_t row_grain = (kGrain + s.blocks - 1) / s.blocks;
  if (R >= 2 * ctx.team->size()) {
    ctx.team->split(R, row_grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t i = 0; i < s.blocks; ++i) stages.scan(r, i);
        for (int64_t i = 0; i < s.blocks; ++i) stages.sum(r, i);
        token_logprobs_finish_row(a, r, s);
      }
    });
    return {};
  }
  const auto for_each_block = [&](auto&& stage) {
    ctx.team->split(R * s.blocks, kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) stage(i / s.blocks, i % s.blocks);
    });
  };
  for_each_block([&](int64_t r, int64_t block) { stages.scan(r, block); });
  for_each_block([&](int64_t r, int64_t block) { stages.sum(r, block); });
  for (int64_t r = 0; r < R; ++r) token_logprobs_finish_row(a, r, s);
  return {};
}

}  // namespace sluice
