#include "engine/batch.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"

namespace sluice {
namespace {

void clear(Batch& b) {
  for (auto* v : {&b.ids, &b.positions, &b.cu_seqlens, &b.cu_settled, &b.cu_rest, &b.start, &b.seq_lens, &b.slots, &b.block_table,
                  &b.logit_rows, &b.closed_rows})
    v->clear();
  b.cu_seqlens.push_back(0);
  b.cu_settled.push_back(0);
  b.verify_sequences = b.single_sequences = b.padding_rows = b.padding_logits = 0;
}

// The rows since the last sequence are one.
void end_sequence(int64_t begin, int64_t end, int32_t slot, Batch& b) {
  b.cu_seqlens.push_back(int32_t(b.ids.size()));
  b.start.push_back(int32_t(begin));
  b.seq_lens.push_back(int32_t(end));
  b.slots.push_back(slot);
  b.closed_rows.push_back(-1);
}

void append_rows(const Sequence& s, int64_t begin, int64_t end, WantLogits logits, Batch& b) {
  for (int64_t p = begin; p < end; ++p) {
    if (logits == WantLogits::kAll || (logits == WantLogits::kLast && p + 1 == end)) b.logit_rows.push_back(int32_t(b.ids.size()));
    b.ids.push_back(s.at(p));
    b.positions.push_back(int32_t(p));
  }
  end_sequence(begin, end, s.slot, b);
}

// The last sequence's rows stay.
void settle(Batch& b) { b.cu_settled.push_back(b.cu_settled.back() + b.cu_seqlens.back() - b.cu_seqlens.end()[-2]); }

void note_closed_chunk(Batch& b) {
  const int32_t end = b.seq_lens.back() / kChunk * kChunk;
  if (end > b.start.back()) b.closed_rows.back() = b.cu_seqlens.back() - 1 - (b.seq_lens.back() - end);
}

// The next of the numbers that steps have of rows, sequences and logits: four to an octave, so that at most a fifth is padding, and
// multiples of 64 from 256 on, where more rows take more time.
int64_t rounded_up(int64_t n) {
  const uint64_t step = std::clamp<uint64_t>(std::bit_floor(uint64_t(n)) / 4, 1, 64);
  return round_up(n, int64_t(step));
}

// The sequences of one row at the beginning of the settled ones; with padding a number that many steps have. Where no others are,
// nobody asks.
void count_single_rows(Padding padding, Batch& b) {
  if (b.one_row_each && b.verify_sequences == 0) return;
  int64_t n = 0;
  while (n + 1 < int64_t(b.cu_settled.size()) && b.cu_settled[size_t(n) + 1] == n + 1) ++n;
  while (padding == Padding::kToCommonShapes && rounded_up(n) != n) --n;
  b.single_sequences = n;
}

void fill_cu_rest(Batch& b) {
  const int64_t n = b.single_sequences;
  for (auto cu = b.cu_settled.begin() + n; cu != b.cu_settled.end(); ++cu) b.cu_rest.push_back(int32_t(*cu - n));
}

void append_padding(int64_t rows, Batch& b) {
  b.ids.resize(b.ids.size() + size_t(rows), 0);
  b.positions.resize(b.ids.size(), 0);
  end_sequence(0, 0, -1, b);
}

// Adds sequences of no slot until the batch has the shape of many others, to be verified where all the others are.
void pad(Batch& b) {
  const bool verify = b.verify_sequences == b.sequences();
  const bool all_logits = b.rows() == int64_t(b.logit_rows.size());
  const int64_t sequences = rounded_up(b.sequences() + (b.one_row_each ? 0 : 1));  // one has the rows that are added
  int64_t rows = (b.one_row_each ? sequences : rounded_up(b.rows())) - b.rows();
  b.padding_rows = rows;
  for (int64_t i = b.sequences(); i < sequences; ++i) {
    append_padding(b.one_row_each ? 1 : std::exchange(rows, 0), b);
    if (verify) ++b.verify_sequences;
    else settle(b);
  }
  // As many logits as rows are those of all rows.
  const int64_t logits = int64_t(b.logit_rows.size()), enough = rounded_up(logits);
  const int64_t wanted = all_logits ? b.rows() : enough < b.rows() ? enough : logits;
  b.padding_logits = wanted - logits;
  for (int64_t i = logits; i < wanted; ++i) b.logit_rows.push_back(all_logits ? int32_t(i) : 0);
}

// sequence(i): the i-th of the batch, null where it is padding. The table's width is a power of two, so that it seldom changes as
// sequences grow: recorded steps depend on it.
template <class F>
void fill_block_table(F&& sequence, Batch& b) {
  uint64_t most = 1;
  for (size_t i = 0; i < b.start.size(); ++i)
    if (const Sequence* s = sequence(i)) most = std::max<uint64_t>(most, s->pages.size());
  b.pages_per_sequence = int64_t(std::bit_ceil(most));
  b.block_table.assign(b.start.size() * size_t(b.pages_per_sequence), -1);
  for (size_t i = 0; i < b.start.size(); ++i)
    if (const Sequence* s = sequence(i)) std::ranges::copy(s->pages, b.block_table.begin() + int64_t(i) * b.pages_per_sequence);
}

bool has_one_row_each(const Batch& b) { return b.rows() == b.sequences() && b.rows() > 0; }  // of a batch without padding

}  // namespace

void build_batch(std::span<const Work> work, Padding padding, Batch& b) {
  clear(b);
  for (const Work& w : work) {
    append_rows(*w.sequence, w.sequence->computed, w.sequence->computed + w.count, w.logits, b);
    if (w.verify) ++b.verify_sequences;
    else settle(b), note_closed_chunk(b);
  }
  b.one_row_each = has_one_row_each(b);
  count_single_rows(padding, b);
  if (padding == Padding::kToCommonShapes) pad(b);
  fill_cu_rest(b);
  fill_block_table([&](size_t i) { return i < work.size() ? work[i].sequence : nullptr; }, b);
}

void build_draft_batch(std::span<const DraftRows> rows, Padding padding, Batch& b) {
  clear(b);
  for (const DraftRows& r : rows) {
    append_rows(*r.sequence, r.sequence->drafted, r.end, r.logits ? WantLogits::kLast : WantLogits::kNone, b);
    settle(b);
  }
  b.one_row_each = has_one_row_each(b);
  if (padding == Padding::kToCommonShapes) pad(b);
  fill_block_table([&](size_t i) { return i < rows.size() ? rows[i].sequence : nullptr; }, b);
}

}  // namespace sluice
