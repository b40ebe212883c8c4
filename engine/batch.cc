#include "engine/batch.h"

#include <algorithm>
#include <bit>

namespace sluice {
namespace {

void clear(Batch& b) {
  for (auto* v :
       {&b.ids, &b.positions, &b.cu_seqlens, &b.cu_settled, &b.start, &b.seq_lens, &b.slots, &b.block_table, &b.logit_rows})
    v->clear();
  b.cu_seqlens.push_back(0);
  b.cu_settled.push_back(0);
  b.verify_sequences = 0;
}

void append_rows(const Sequence& s, int64_t begin, int64_t end, WantLogits logits, Batch& b) {
  for (int64_t p = begin; p < end; ++p) {
    if (logits == WantLogits::kAll || (logits == WantLogits::kLast && p + 1 == end)) b.logit_rows.push_back(int32_t(b.ids.size()));
    b.ids.push_back(s.at(p));
    b.positions.push_back(int32_t(p));
  }
  b.cu_seqlens.push_back(int32_t(b.ids.size()));
  b.start.push_back(int32_t(begin));
  b.seq_lens.push_back(int32_t(end));
  b.slots.push_back(s.slot);
}

// sequence(i): the i-th of the batch. The table's width is a power of two, so that it seldom changes as sequences grow: recorded
// steps depend on it.
template <class F>
void fill_block_table(F&& sequence, Batch& b) {
  uint64_t most = 1;
  for (size_t i = 0; i < b.start.size(); ++i) most = std::max<uint64_t>(most, sequence(i).pages.size());
  b.pages_per_sequence = int64_t(std::bit_ceil(most));
  b.block_table.assign(b.start.size() * size_t(b.pages_per_sequence), -1);
  for (size_t i = 0; i < b.start.size(); ++i)
    std::ranges::copy(sequence(i).pages, b.block_table.begin() + int64_t(i) * b.pages_per_sequence);
}

}  // namespace

void build_batch(std::span<const Work> work, Batch& b) {
  clear(b);
  for (const Work& w : work) {
    append_rows(*w.sequence, w.sequence->computed, w.sequence->computed + w.count, w.logits, b);
    if (w.verify) ++b.verify_sequences;
    else b.cu_settled.push_back(b.cu_settled.back() + int32_t(w.count));
  }
  fill_block_table([&](size_t i) -> const Sequence& { return *work[i].sequence; }, b);
}

void build_draft_batch(std::span<const DraftRows> rows, Batch& b) {
  clear(b);
  for (const DraftRows& r : rows)
    append_rows(*r.sequence, r.sequence->drafted, r.end, r.logits ? WantLogits::kLast : WantLogits::kNone, b);
  fill_block_table([&](size_t i) -> const Sequence& { return *rows[i].sequence; }, b);
}

}  // namespace sluice
