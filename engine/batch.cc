#include "engine/batch.h"

#include <algorithm>

namespace sluice {
namespace {

void append_rows(const Work& w, Batch& b) {
  const Sequence& s = *w.sequence;
  for (int64_t i = 0; i < w.count; ++i) {
    if (w.logits == WantLogits::kAll || (w.logits == WantLogits::kLast && i + 1 == w.count))
      b.logit_rows.push_back(int32_t(b.ids.size()));
    b.ids.push_back(s.tokens[s.computed + i]);
    b.positions.push_back(int32_t(s.computed + i));
  }
  b.cu_seqlens.push_back(int32_t(b.ids.size()));
  b.start.push_back(int32_t(s.computed));
  b.seq_lens.push_back(int32_t(s.computed + w.count));
  b.slots.push_back(s.slot);
}

}  // namespace

void build_batch(std::span<const Work> work, bool verify, Batch& b) {
  for (auto* v : {&b.ids, &b.positions, &b.cu_seqlens, &b.start, &b.seq_lens, &b.slots, &b.block_table, &b.logit_rows}) v->clear();
  b.verify = verify;
  b.cu_seqlens.push_back(0);
  b.pages_per_sequence = 0;
  for (const Work& w : work) {
    append_rows(w, b);
    b.pages_per_sequence = std::max(b.pages_per_sequence, int64_t(w.sequence->pages.size()));
  }
  b.block_table.assign(work.size() * size_t(b.pages_per_sequence), -1);
  for (size_t i = 0; i < work.size(); ++i)
    std::ranges::copy(work[i].sequence->pages, b.block_table.begin() + int64_t(i) * b.pages_per_sequence);
}

}  // namespace sluice
