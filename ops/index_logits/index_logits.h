// index_logits: an indexer's scores of keys, by which sparse attention chooses (DeepSeek-V3.2, GLM-5; fp8_mqa_logits and
// fp8_paged_mqa_logits of DeepGEMM).
//
//   logits[t, j] = k_scale[j] * sum_h weights[t, h] * relu(sum_d q[t, h, d] * k[j, d])        for the keys j that token t sees
//
// The keys are either rows of k, of which token t sees k_begin[t] <= j < k_end[t], or those of a paged index cache, where T =
// B * next_n and token t = b * next_n + n sees the keys 0 <= j < context_lens[b, n] of sequence b. A context_lens of one dimension
// counts a sequence's keys up to its last token: then j < context_lens[b] - next_n + 1 + n. Bounds are clipped to the columns.
// Columns of keys that a token does not see become -inf with `clean`, and are not touched without.
//
// A page of the cache is page_size * D e4m3 codes, a key after the other, and behind them page_size fp32 scales. weights hold all
// factors of the query: its scale, D^-0.5, H^-0.5. The inner sum is fp32, over exact products; the sum over heads has one order.
// A row's logits have the same bits in any batch and on every call (on a GPU, rows that are not aligned to 16 bytes, or those of
// more than 64 heads, have others than those that are). Queries and keys are finite. Nothing overlaps the output. Tolerance:
// rel_rms 2e-6, max_rel 2e-5.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct IndexLogitsArgs {
  Tensor q;        // [T, H, D] f8 e4m3, bf16 or f32; D 32, 64 or 128; outer strides free
  Tensor weights;  // [T, H] f32, row stride free

  Tensor k;               // [S, D] of q's type, row stride free; absent: the keys are paged
  Tensor k_scale;         // [S] f32; absent: 1
  Tensor k_begin, k_end;  // [T] i32; absent: 0 and S

  Tensor cache;           // [pages, page_size * (D + 4)] u8, row stride free; q is e4m3
  int64_t page_size = 0;  // keys, a power of two
  Tensor block_table;     // [B, P] i32, row stride free: the pages of a sequence; entries behind its keys are not read
  Tensor context_lens;    // [B] or [B, next_n] i32

  Tensor logits;  // [T, S] f32; paged: [T, <= P * page_size]; row stride free
  bool clean = true;
};

template <class F>
void each_tensor(IndexLogitsArgs& args, F&& f) {
  f(args.q), f(args.weights), f(args.k), f(args.k_scale), f(args.k_begin), f(args.k_end);
  f(args.cache), f(args.block_table), f(args.context_lens), f(args.logits);
}

Status check_index_logits(const IndexLogitsArgs& args);
std::span<const Impl<IndexLogitsArgs>> index_logits_impls();
Status index_logits(Context& ctx, const IndexLogitsArgs& args);

}  // namespace sluice
