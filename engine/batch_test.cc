// Padding: the work is where it would be without, what is added means nothing, and few shapes are left.
#include "engine/batch.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace sluice {
namespace {

struct Sequences {
  std::vector<Sequence> all;
  std::vector<Work> work;
};

// `verify` sequences that verify and then some that do not, of 1 to `most` rows each, at any position.
Sequences some(int verify, int settled, int64_t most, WantLogits logits, uint64_t seed) {
  std::mt19937_64 rng(seed);
  Sequences s;
  s.all.resize(size_t(verify + settled));
  for (int i = 0; i < verify + settled; ++i) {
    Sequence& q = s.all[size_t(i)];
    const int64_t count = 1 + int64_t(rng() % uint64_t(most));
    q.computed = int64_t(rng() % 60);
    q.tokens.resize(size_t(q.computed + count), int32_t(i));
    q.slot = i;
    q.pages.assign(size_t(1 + (q.computed + count) / 64), int32_t(100 + i));
    s.work.push_back({&q, count, logits, i < verify});
  }
  return s;
}

template <class T>
std::vector<T> first(const std::vector<T>& v, size_t count) {
  return {v.begin(), v.begin() + int64_t(count)};
}

void expect_padded(const Batch& plain, const Batch& b) {
  const size_t T = plain.ids.size(), B = plain.start.size();
  EXPECT_EQ(first(b.ids, T), plain.ids);
  EXPECT_EQ(first(b.positions, T), plain.positions);
  EXPECT_EQ(first(b.cu_seqlens, B + 1), plain.cu_seqlens);
  EXPECT_EQ(first(b.slots, B), plain.slots);
  EXPECT_EQ(first(b.start, B), plain.start);
  EXPECT_EQ(first(b.seq_lens, B), plain.seq_lens);
  EXPECT_EQ(first(b.closed_rows, B), plain.closed_rows);
  EXPECT_EQ(first(b.block_table, B * size_t(b.pages_per_sequence)), plain.block_table);
  EXPECT_EQ(first(b.logit_rows, plain.logit_rows.size()), plain.logit_rows);
  EXPECT_EQ(b.one_row_each, plain.one_row_each);
  EXPECT_EQ(b.rows() - b.padding_rows, plain.rows());
  EXPECT_EQ(int64_t(b.logit_rows.size()) - b.padding_logits, int64_t(plain.logit_rows.size()));
  // As many logits as rows: those of all rows, in order.
  EXPECT_EQ(int64_t(b.logit_rows.size()) == b.rows(), plain.logit_rows.size() == T);
  EXPECT_EQ(b.cu_seqlens.back(), b.rows());
  EXPECT_EQ(b.cu_settled.back(), b.rows() - b.verify_rows());
  EXPECT_EQ(int64_t(b.cu_settled.size()), b.sequences() - b.verify_sequences + 1);
  EXPECT_EQ(b.cu_rest.size() + size_t(b.single_sequences), b.cu_settled.size());
  for (size_t i = 0; i < b.cu_settled.size(); ++i) {
    const int64_t single = b.single_sequences, row = b.cu_settled[i];
    EXPECT_EQ(row, int64_t(i) < single ? int64_t(i) : b.cu_rest[i - size_t(single)] + single);
  }
  for (size_t i = B; i < b.start.size(); ++i) {
    EXPECT_EQ(b.slots[i], -1);
    EXPECT_EQ(b.seq_lens[i], 0);
    EXPECT_EQ(b.closed_rows[i], -1);
    EXPECT_EQ(b.block_table[i * size_t(b.pages_per_sequence)], -1);
    if (b.one_row_each) {
      EXPECT_EQ(b.cu_seqlens[i + 1] - b.cu_seqlens[i], 1);
    }
  }
  EXPECT_LE(4 * b.padding_rows, b.rows());
}

TEST(Padding, ComesBehindTheWork) {
  for (const int64_t most : {1, 3, 40})
    for (int n = 1; n <= 60; ++n)
      for (const WantLogits logits : {WantLogits::kLast, WantLogits::kAll})
        for (const auto& [verify, settled] : {std::pair{0, n}, {n, 0}, {n / 2, n - n / 2}}) {
          const Sequences s = some(verify, settled, most, logits, uint64_t(n));
          Batch plain, padded;
          build_batch(s.work, Padding::kNone, plain);
          build_batch(s.work, Padding::kToCommonShapes, padded);
          EXPECT_EQ(plain.padding_rows + plain.padding_logits, 0);
          expect_padded(plain, padded);
          EXPECT_EQ(padded.verify_sequences, settled == 0 ? padded.sequences() : verify);
        }
}

TEST(Padding, LeavesFewShapes) {
  std::set<BatchShape> decoding, prompts;
  for (int n = 1; n <= 512; ++n) {
    Batch b;
    const Sequences rows = some(0, n, 1, WantLogits::kLast, 1);
    build_batch(rows.work, Padding::kToCommonShapes, b);
    decoding.insert([&] { return b.pages_per_sequence = 0, b.closed_rows.clear(), shape_of(b); }());
    Sequence prompt{.tokens = std::vector<int32_t>(size_t(n) + 1), .slot = 0, .pages = {0}};
    const Work work{&prompt, n + 1};
    build_batch({&work, 1}, Padding::kToCommonShapes, b);
    prompts.insert([&] { return b.closed_rows.clear(), shape_of(b); }());
  }
  EXPECT_EQ(decoding.size(), 7 + 6 * 4 + 1u);  // each of 1 to 7, four an octave from 8 to 511, 512
  EXPECT_LE(prompts.size(), decoding.size());
}

TEST(Batch, TellsSequencesOfOneRowFromOthers) {
  Sequences s = some(0, 40, 1, WantLogits::kLast, 1);
  for (int i = 37; i < 40; ++i) s.all[size_t(i)].tokens.resize(100), s.work[size_t(i)].count = 5;
  Batch b;
  build_batch(s.work, Padding::kNone, b);
  EXPECT_EQ(b.single_sequences, 37);
  EXPECT_EQ(b.cu_rest, std::vector<int32_t>({0, 5, 10, 15}));
  build_batch(s.work, Padding::kToCommonShapes, b);
  EXPECT_EQ(b.single_sequences, 32);  // a number that many steps have
  build_batch(std::span(s.work).first(37), Padding::kNone, b);
  EXPECT_EQ(b.single_sequences, 0);  // all are: that is one_row_each
}

TEST(Padding, KeepsTheRowThatClosesAChunk) {
  Sequence s;
  s.tokens.resize(140), s.computed = 50, s.slot = 3, s.pages = {1, 2, 3};
  const Work work{&s, 90, WantLogits::kLast};
  Batch b;
  build_batch({&work, 1}, Padding::kToCommonShapes, b);
  EXPECT_EQ(b.closed_rows[0], 128 - 1 - 50);
  EXPECT_TRUE(b.closes());
  const Work verify{&s, 14, WantLogits::kAll, true};
  build_batch({&verify, 1}, Padding::kToCommonShapes, b);
  EXPECT_FALSE(b.closes());  // what may be taken back closes none
}

}  // namespace
}  // namespace sluice
