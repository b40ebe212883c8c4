// moe_align: the entries of topk_ids in order of their experts, each expert's padded to whole blocks, for grouped matrix products.
//
// Entry topk_ids[t, j] has the flat index t K + j; there are N = T K. An entry outside [0, E), as -1, belongs to no expert and is
// left out.
//
//   sorted_token_ids     for each expert in rising order: the flat indices of its entries, in rising order, and then N, which is no
//                        index, up to a multiple of block; N from the last expert's block on
//   expert_ids[b]        the expert of the entries [b block, (b + 1) block) of sorted_token_ids: its number among the local
//                        experts, or -1 where it is none of them; -1 behind the last block
//   num_tokens_post_pad  [0]: where the last expert's last block ends
//
// All three are written to their ends, also for T = 0. This is moe_align_block_size of vLLM and SGLang, in an order that is always
// the same. With experts spread over several machines expert_map gives the local number of each expert, or -1; where the local ones
// are neighbours first_local and local_experts say it without a table.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/checked.h"
#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct MoeAlignArgs {
  static constexpr int64_t kMostExperts = 2048;

  Tensor topk_ids;                              // [T, K] i32, stride free in dimension 0
  Tensor expert_map;                            // [E] i32; may be absent
  Tensor sorted_token_ids;                      // [moe_align_capacity() or more] i32, dense
  Tensor expert_ids;                            // [capacity / block, rounded up, or more] i32, dense
  Tensor num_tokens_post_pad;                   // [1] i32
  int64_t experts = 0;                          // E, the shared ones that a gate adds included
  int64_t block = 64;                           // 16, 32, 64 or 128
  int64_t first_local = 0, local_experts = -1;  // -1: all from first_local on. Not with an expert_map
};

template <class F>
void each_tensor(MoeAlignArgs& a, F&& f) {
  f(a.topk_ids), f(a.expert_map), f(a.sorted_token_ids), f(a.expert_ids), f(a.num_tokens_post_pad);
}

// Entries of sorted_token_ids that are always enough: each expert that occurs pads by less than a block. What vLLM and SGLang
// allocate, for one expert more and rounded up, is enough too.
constexpr int64_t moe_align_capacity(int64_t entries, int64_t experts, int64_t block) {
  return entries + std::min(entries, experts) * (block - 1);
}
constexpr int64_t moe_align_blocks(int64_t entries, int64_t experts, int64_t block) {
  return ceil_div(moe_align_capacity(entries, experts, block), block);
}

Status check_moe_align(const MoeAlignArgs& a);
std::span<const Impl<MoeAlignArgs>> moe_align_impls();
Status moe_align(Context& ctx, const MoeAlignArgs& a);

}  // namespace sluice
