#include <algorithm>
#include <cmath>
#include <functional>

#include "ops/index_topk/cases.h"
#include "ops/index_topk/index_topk.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr double kInf = INFINITY;

std::vector<int64_t> integers(const Storage& s) {
  std::vector<int64_t> v;
  for (const double x : s.values()) v.push_back(int64_t(x));
  return v;
}

// The contract once more: the indices that come first by (score, -index), in ascending order, then -1.
std::vector<int64_t> chosen(const std::vector<double>& scores, int64_t k) {
  std::vector<int64_t> order;
  for (size_t i = 0; i < scores.size(); ++i) order.push_back(int64_t(i));
  const auto comes_first = [&](int64_t i, int64_t j) {
    const double a = scores[size_t(i)], b = scores[size_t(j)];
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b) ? i < j : std::isnan(b);
    return a != b ? a > b : i < j;
  };
  if (int64_t(order.size()) > k) {
    std::nth_element(order.begin(), order.begin() + k, order.end(), comes_first);
    order.resize(size_t(k));
  }
  std::sort(order.begin(), order.end());
  order.resize(size_t(k), -1);
  return order;
}

// All forms on all rows of `scores`, lengths and starts as given, against chosen().
void expect_chosen(const Storage& scores, int64_t k, const std::string& what, const std::vector<int64_t>& starts = {},
                   const std::vector<int64_t>& lengths = {}) {
  const int64_t B = scores.tensor().dim(0), L = scores.tensor().dim(1);
  const Storage starts_storage = ints(starts), lengths_storage = ints(lengths);
  IndexTopkArgs args{.scores = scores};
  if (!starts.empty()) args.row_starts = starts_storage;
  if (!lengths.empty()) args.lengths = lengths_storage;
  const std::vector<double> all = scores.values();
  std::vector<int64_t> want;
  for (int64_t b = 0; b < B; ++b) {
    int64_t start = starts.empty() ? 0 : starts[size_t(b)];
    if (start < 0 || start > L) start = L;
    const int64_t length = std::clamp<int64_t>(lengths.empty() ? L : lengths[size_t(b)], 0, L - start);
    const auto row = all.begin() + b * L + start;
    for (const int64_t i : chosen({row, row + length}, k)) want.push_back(i);
  }
  const Storage any(DType::kI32, {B, k});
  args.out = any;
  ASSERT_EQ(check_index_topk(args).message(), "");
  for (const auto* impl : runnable(index_topk_impls(), args)) {
    const Storage out(DType::kI32, {B, k}, k + 3, 1);
    args.out = out;
    run_ok(*impl, args);
    EXPECT_TRUE(integers(out) == want) << impl->name << " " << what;
    EXPECT_TRUE(out.margins_intact()) << impl->name << " " << what;
  }
}

Storage scores_of(int64_t rows, int64_t columns, const std::function<double()>& next, int64_t row_stride = 0, int64_t offset = 0) {
  Storage s(DType::kF32, {rows, columns}, row_stride, offset);
  s.fill(next);
  return s;
}

TEST(IndexTopk, RandomScores) {
  Random random(1);
  for (const auto& [rows, columns, k] : kIndexTopkCases) {
    const std::string what = std::to_string(rows) + "x" + std::to_string(columns) + " " + std::to_string(k);
    expect_chosen(scores_of(rows, columns, [&] { return random.normal(); }), k, what);
    if (columns < 10000)  // odd addresses; many ties, many zeros of either sign
      expect_chosen(scores_of(
                        rows, columns, [&] { return std::max<double>(-0.0, double(random.integer(-9, 9)) / 8); }, columns + 5, 3),
                    k, what + " ties");
  }
}

TEST(IndexTopk, ManyRows) {
  Random random(2);
  expect_chosen(scores_of(4096, 130, [&] { return random.normal(); }), 60, "4096 rows");
}

// Rows that upstream kernels lose candidates of: ties by the thousand, and everything in one bin of a half's upper bits.
TEST(IndexTopk, Ties) {
  Random random(3);
  expect_chosen(scores_of(2, 8320, [] { return 0; }), 2048, "all equal");
  expect_chosen(scores_of(1, 8320, [n = 0]() mutable { return n++ % 83 == 40 ? 1 : 0; }), 2048, "100 winners, 8220 zeros");
  expect_chosen(
      scores_of(1, 8500, [&, n = 0]() mutable { return n++ % 17 == 3 ? 4 + random.normal(0, 0.1) : 1 + random.uniform(0, 9e-4); }),
      2048, "500 above 8000 of one fp16 bin");
  expect_chosen(scores_of(1, 8320, [n = 0]() mutable { return std::nextafter(1.0f, float(n++ % 3)); }), 2048, "last places");
  expect_chosen(scores_of(1, 70000, [] { return -3.5; }), 2048, "a long row of equals");
}

TEST(IndexTopk, InAnyOrder) {
  expect_chosen(scores_of(1, 30000, [n = 0]() mutable { return n++; }), 2048, "ascending");
  expect_chosen(scores_of(1, 30000, [n = 0]() mutable { return -n++; }), 2048, "descending");
  expect_chosen(scores_of(1, 30000, [n = 0]() mutable { return n++ % 2 ? n : -n; }), 4096, "alternating");
}

TEST(IndexTopk, InfinitiesNaNAndLargeScores) {
  Random random(4);
  const double special[] = {kInf, -kInf, NAN, -NAN, 65504, 65505, 65536, 1e30, -1e30, 3.4e38, 1e-45, -1e-45, 0, -0.0};
  for (const int64_t k : {1, 100, 900, 1900})
    expect_chosen(scores_of(3, 2000, [&] { return special[random.integer(0, 13)]; }), k, "special " + std::to_string(k));
  expect_chosen(scores_of(2, 3000, [] { return -kInf; }), 2048, "all -inf");
  expect_chosen(scores_of(2, 3000, [] { return NAN; }), 2048, "all NaN");
  expect_chosen(scores_of(1, 9000, [n = 0]() mutable { return n++ % 9 == 0 ? -kInf : NAN; }), 2048, "-inf before NaN");
  expect_chosen(scores_of(1, 9000, [n = 0]() mutable { return ++n > 8000 ? -kInf : NAN; }), 500, "-inf behind NaN");
  expect_chosen(scores_of(1, 5000, [&] { return 65504 + random.uniform(0, 1e6); }), 2048, "beyond fp16");
}

// Starts and lengths at and beyond every edge; starts misalign rows.
TEST(IndexTopk, StartsAndLengths) {
  Random random(5);
  const std::vector<int64_t> lengths{2047, 2048, 2049, 0, 1, -1, 5000, 4096, 3000, 3001, 3002, 3003, 99, 99};
  const std::vector<int64_t> starts{0, 1, 2, 3, 4, 5, 6, 7, 1000, 1001, 1002, 1003, -1, 5001};
  const auto scores = scores_of(14, 5000, [&] { return random.normal(); });
  expect_chosen(scores, 2048, "both", starts, lengths);
  expect_chosen(scores, 2048, "starts", starts);
  expect_chosen(scores, 2048, "lengths", {}, lengths);
  expect_chosen(scores_of(2, 600000, [&] { return random.integer(0, 999); }), 2048, "long", {5, 9}, {599990, 2000});
}

// Long rows of which every sixteenth quad is unlike the others, as no sample of them should be: too few scores pass the bar that it
// gives, or far too many.
TEST(IndexTopk, MisleadingSamples) {
  Random random(8);
  for (const double of_sample : {100, -100}) {
    const auto scores = [&, n = 0]() mutable { return random.normal() + (n++ / 4 % 16 == 0 ? of_sample : 0); };
    expect_chosen(scores_of(2, 65536, scores), 2048, "every 16th quad " + std::to_string(of_sample));
  }
  expect_chosen(scores_of(1, 40000, [&] { return 20 + 1e-3 * random.normal(); }), 2048, "all in one bin of a sample");
  expect_chosen(scores_of(1, 40000, [&] { return random.integer(0, 3) ? NAN : random.normal(); }), 2048, "three of four NaN");
  expect_chosen(scores_of(3, 70001, [&] { return random.normal(); }), 2048, "starts and lengths", {5, 9, 3}, {69990, 20000, 5000});
}

TEST(IndexTopk, Transforms) {
  Random random(6);
  const Storage scores = scores_of(3, 700, [&] { return random.normal(); });
  const Storage lengths = ints({700, 50, 300}), offsets = ints({10, -5, 100000});
  Storage table(DType::kI32, {3, 10}, 12);
  table.fill([n = 0]() mutable { return n++ == 23 ? -1 : n * 7; });
  for (const auto* impl : runnable(index_topk_impls(), IndexTopkArgs{.scores = scores, .out = table})) {
    for (const int64_t page : {1, 64, 100, 1 << 20}) {
      const Storage plain(DType::kI32, {3, 128}), paged(DType::kI32, {3, 128}, 130), ragged(DType::kI32, {3, 128});
      IndexTopkArgs args{.scores = scores, .lengths = lengths, .out = plain};
      run_ok(*impl, args);
      args.offsets = offsets, args.out = ragged;
      run_ok(*impl, args);
      args.offsets = {}, args.page_table = table, args.page_size = page, args.out = paged;
      run_ok(*impl, args);
      std::vector<int64_t> want_paged, want_ragged;
      const std::vector<int64_t> index = integers(plain), pages = integers(table), shift = integers(offsets);
      for (size_t i = 0; i < index.size(); ++i) {
        const size_t row = i / 128;
        const int64_t number = index[i] / page, entry = index[i] < 0 || number >= 10 ? -1 : pages[row * 10 + size_t(number)];
        want_paged.push_back(entry < 0 ? -1 : entry * page + index[i] % page);
        want_ragged.push_back(index[i] < 0 ? -1 : index[i] + shift[row]);
      }
      EXPECT_EQ(integers(paged), want_paged) << impl->name << " " << page;
      EXPECT_EQ(integers(ragged), want_ragged) << impl->name;
      EXPECT_TRUE(paged.margins_intact()) << impl->name;
    }
  }
}

// A row's result is its own: alone or in a batch, on one thread or two.
TEST(IndexTopk, SameAloneAndOnAnyThreads) {
  Random random(7);
  const Storage scores = scores_of(40, 6000, [&] { return random.integer(0, 200); });
  const Storage any(DType::kI32, {40, 512});
  for (const auto* impl : runnable(index_topk_impls(), IndexTopkArgs{.scores = scores, .out = any})) {
    const Storage all(DType::kI32, {40, 512}), again(DType::kI32, {40, 512}), alone(DType::kI32, {1, 512});
    run_ok(*impl, IndexTopkArgs{.scores = scores, .out = all});
    run_ok(*impl, IndexTopkArgs{.scores = scores, .out = again}, 1);
    run_ok(*impl, IndexTopkArgs{.scores = scores.tensor().slice(0, 33, 34), .out = alone});
    expect_same_bits(all, again, impl->name);
    const std::vector<int64_t> of_all = integers(all);
    EXPECT_EQ(integers(alone), std::vector<int64_t>(of_all.begin() + 33 * 512, of_all.begin() + 34 * 512)) << impl->name;
  }
}

TEST(IndexTopk, RefusesBadArguments) {
  const Storage scores(DType::kF32, {2, 100}), bf16(DType::kBF16, {2, 100}), flat(DType::kF32, {100}), out(DType::kI32, {2, 8}),
      ids = ints({1, 2, 3}), two = ints({1, 2}), table(DType::kI32, {2, 4}), wide(DType::kI64, {2, 8});
  const auto message = [](const IndexTopkArgs& args) { return check_index_topk(args).message(); };
  EXPECT_EQ(message({}), "index_topk: scores is missing");
  EXPECT_EQ(message({.scores = flat}), "index_topk: scores has rank 1, wanted 2");
  EXPECT_EQ(message({.scores = bf16}), "index_topk: scores is BF16, wanted F32");
  EXPECT_EQ(message({.scores = scores.tensor().swap_last_two()}), "index_topk: scores must have stride 1 in its last dimension");
  EXPECT_EQ(message({.scores = scores}), "index_topk: out is missing");
  EXPECT_EQ(message({.scores = scores, .out = wide}), "index_topk: out is I64, wanted I32");
  EXPECT_EQ(message({.scores = scores, .out = out.tensor().slice(0, 0, 1)}), "index_topk: out has shape [1, 8], wanted [2, 8]");
  EXPECT_EQ(message({.scores = scores, .row_starts = ids, .out = out}), "index_topk: row_starts has shape [3], wanted [2]");
  EXPECT_EQ(message({.scores = scores, .lengths = flat, .out = out}), "index_topk: lengths is F32, wanted I32");
  EXPECT_EQ(message({.scores = scores, .offsets = ids, .out = out}), "index_topk: offsets has shape [3], wanted [2]");
  EXPECT_EQ(message({.scores = scores, .page_table = two, .out = out}), "index_topk: page_table has rank 1, wanted 2");
  EXPECT_EQ(message({.scores = scores, .page_table = table, .out = out}),
            "index_topk: page_size of a page_table must be between 1 and 2^31 - 1");
  EXPECT_EQ(message({.scores = scores, .page_table = table, .page_size = 64, .offsets = two, .out = out}),
            "index_topk: page_table and offsets are both there, wanted at most one");
  Tensor long_rows = scores;
  long_rows.shape[1] = int64_t(1) << 31;
  EXPECT_EQ(message({.scores = long_rows, .out = out}), "index_topk: scores has rows of 2^31 or more, and indices are int32");
}

}  // namespace
}  // namespace sluice
