// index_topk: the k best keys of each row of an indexer's scores, for sparse attention (DeepSeek-V3.2, GLM-5).
//
// Row b has scores s_i = scores[b, row_starts[b] + i], 0 <= i < lengths[b]. Its set is exact:
//
//   the k indices i that come first by descending s_i; of equal scores the lower index comes first, NaN is below -inf, -0 equals 0
//
// out[b] is that set in ascending order of i, which is the order of the keys in memory. A row of at most k scores is not read: its
// set is 0, 1, 2, ..., and the slots behind them are -1. All k slots of every row are written, and equal inputs give equal outputs.
// At most one of these replaces what is written for i:
//
//   paged:   page_table[b, i / page_size] * page_size + i % page_size; -1 where the table ends or its entry is negative
//   ragged:  i + offsets[b]
//
// A length below 0 is 0 and one beyond the row's end stops there; a row_start outside of the row leaves no scores. Results that
// no int32 holds are the caller's to avoid. Nothing overlaps the output. Tolerance: none.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct IndexTopkArgs {
  Tensor scores;          // [B, L] f32, L < 2^31; row stride free
  Tensor row_starts;      // [B] i32; absent: 0
  Tensor lengths;         // [B] i32; absent: to the row's end
  Tensor page_table;      // [B, P] i32, row stride free; may be absent
  int64_t page_size = 0;  // keys of a page, of a page_table
  Tensor offsets;         // [B] i32; may be absent
  Tensor out;             // [B, k] i32; row stride free
};

template <class F>
void each_tensor(IndexTopkArgs& args, F&& f) {
  f(args.scores), f(args.row_starts), f(args.lengths), f(args.page_table), f(args.offsets), f(args.out);
}

Status check_index_topk(const IndexTopkArgs& args);
std::span<const Impl<IndexTopkArgs>> index_topk_impls();
Status index_topk(Context& ctx, const IndexTopkArgs& args);

}  // namespace sluice
