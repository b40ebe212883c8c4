// The body of the vector forms: one pass over a row, in which sixteen scores at a time are held against the bar that the best k so
// far have set. Of scores in random order few pass it.
#pragma once

#include <bit>

#include "core/simd.h"
#include "ops/index_topk/candidates.h"
#include "ops/index_topk/forms.h"

namespace sluice {

// The score of a key, as far as comparison goes.
SLUICE_INLINE float score_of_key(uint32_t key) { return std::bit_cast<float>(key >> 31 ? key & 0x7fffffffu : ~key); }

template <class V>
SLUICE_INLINE void index_topk_row(const TopkRows& rows, int64_t row, uint64_t* memory) {
  const int64_t length = rows.length(row);
  if (length <= rows.k) {
    for (int64_t slot = 0; slot < rows.k; ++slot) rows.put_whole_row(row, slot, length);
    return;
  }
  const float* scores = rows.scores_of(row);
  Candidates best(memory, rows.k);
  for (int64_t i = 0; i < length && rows.k > 0; i += simd::kLanes) {
    const int lanes = simd::lanes_at(i, length);
    uint32_t may_pass = (1u << lanes) - 1;
    if (best.bar() > kKeyOfNaN)  // a number: what is not greater does not pass
      may_pass &= V::greater(V::load_n(scores + i, lanes), V::set1(score_of_key(best.bar())));
    for (; may_pass; may_pass &= may_pass - 1) {
      const int lane = std::countr_zero(may_pass);
      best.add(score_key(scores[i + lane]), i + lane);
    }
  }
  best.keep_best();
  for (int64_t slot = 0; slot < rows.k; ++slot) rows.put(row, slot, best.index(slot));
}

template <class V>
Status index_topk_body(Context& ctx, const IndexTopkArgs& args, std::byte* scratch) {
  const TopkRows rows(args);
  const int64_t grain = 16384 / (rows.columns + rows.k + 1) + 1;  // rows worth waking a thread for
  ctx.team->split(rows.rows, grain, [&](int64_t begin, int64_t end, int thread) {
    uint64_t* memory = reinterpret_cast<uint64_t*>(scratch) + thread * Candidates::scratch(rows.k);
    for (int64_t row = begin; row < end; ++row) index_topk_row<V>(rows, row, memory);
  });
  return {};
}

}  // namespace sluice
