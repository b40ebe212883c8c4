#include <algorithm>
#include <numeric>

#include "ops/kv_append/cases.h"
#include "ops/kv_append/kv_append.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// Random lengths and starts; pages in shuffled order, table entries past a sequence's end poisoned with -1.
struct Inputs {
  std::vector<int64_t> cu{0}, start;
  Storage cu_seqlens, starts, table, k, v;
  int64_t pages;
  KvAppendCase c;

  Inputs(Random& random, const KvAppendCase& c, DType dtype)
      : cu_seqlens(DType::kI32, {0}), starts(cu_seqlens), table(cu_seqlens), k(cu_seqlens), v(cu_seqlens), c(c) {
    for (int64_t b = 0; b < c.sequences; ++b) {
      cu.push_back(cu.back() + random.integer(0, c.max_rows));
      start.push_back(random.integer(0, c.max_start));
    }
    const int64_t per_sequence = (c.max_start + c.max_rows) / c.page + 1;
    pages = c.sequences * per_sequence + 1;
    std::vector<int64_t> order(pages);
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = pages - 1; i > 0; --i) std::swap(order[i], order[random.integer(0, i)]);
    cu_seqlens = ints(cu), starts = ints(start);
    table = Storage(DType::kI32, {c.sequences, per_sequence});
    int64_t i = 0;
    table.fill([&] {
      const int64_t b = i / per_sequence, p = i++ % per_sequence;
      return p * c.page < start[b] + cu[b + 1] - cu[b] ? order[b * per_sequence + p] : -1;
    });
    k = random.normal(dtype, {cu.back(), c.heads, c.dim}, 1, c.heads * c.dim + 3);
    v = random.normal(dtype, {cu.back(), c.heads, c.dim});
  }
  // With a gap between the pages that nobody may touch.
  Storage cache(DType dtype) const { return Storage(dtype, {pages, c.page, c.heads, c.dim}, c.page * c.heads * c.dim + 5); }
  KvAppendArgs args(const Storage& k_cache, const Storage& v_cache) const {
    return {
        .k = k, .v = v, .cu_seqlens = cu_seqlens, .start = starts, .block_table = table, .k_cache = k_cache, .v_cache = v_cache};
  }
};

// What the cache must hold, from the contract's one sentence; NaN (the poison) where nothing is written.
std::vector<double> expected(const Inputs& s, const Storage& x, DType dtype) {
  const auto& c = s.c;
  std::vector<double> want(s.pages * c.page * c.heads * c.dim, NAN);
  const std::vector<double> values = x.values(), table = s.table.values();
  const int64_t row = c.heads * c.dim, width = s.table.tensor().shape[1];
  for (int64_t b = 0; b < c.sequences; ++b)
    for (int64_t t = s.cu[b]; t < s.cu[b + 1]; ++t) {
      const int64_t p = s.start[b] + t - s.cu[b], page = int64_t(table[b * width + p / c.page]);
      for (int64_t d = 0; d < row; ++d) {
        const float f = float(values[t * row + d]);
        want[(page * c.page + p % c.page) * row + d] = dtype == DType::kBF16 ? float(Bf16(f)) : f;
      }
    }
  return want;
}

void expect_equal_or_both_nan(const Storage& got, const std::vector<double>& want, const char* what) {
  const std::vector<double> g = got.values();
  ASSERT_EQ(g.size(), want.size()) << what;
  for (size_t i = 0; i < g.size(); ++i)
    ASSERT_TRUE(g[i] == want[i] || (std::isnan(g[i]) && std::isnan(want[i]))) << what << " " << i;
  EXPECT_TRUE(got.margins_intact()) << what;
}

TEST(KvAppend, EveryRowInItsPlaceAndNothingElse) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const KvAppendCase& c : kKvAppendCases) {
        const Inputs s(random, c, in);
        for (const auto* impl : runnable(kv_append_impls(), KvAppendArgs{})) {
          const Storage k_cache = s.cache(out), v_cache = s.cache(out);
          ASSERT_TRUE(check_kv_append(s.args(k_cache, v_cache)).ok()) << check_kv_append(s.args(k_cache, v_cache)).message();
          run_ok(*impl, s.args(k_cache, v_cache));
          expect_equal_or_both_nan(k_cache, expected(s, s.k, out), impl->name);
          expect_equal_or_both_nan(v_cache, expected(s, s.v, out), impl->name);
        }
      }
}

TEST(KvAppend, OnAGpuWhatHasNoPageIsNotWritten) {
  const Storage cu = ints({0, 4, 6, 9}), start = ints({1, 7, -2});
  Storage x(DType::kF32, {9, 2, 16});
  x.fill([] { return 3; });
  const Storage table = ints({2, 5, 0, 1, 3, -1});  // sequence 0: page 5 is none; 1: position 8 is behind the table; 2: below 0
  const Tensor pages = table.tensor().reshape({3, 2});
  for (const auto* impl : runnable(kv_append_impls(), KvAppendArgs{}))
    if (is_gpu(impl->isa)) {
      const Storage k(DType::kF32, {5, 4, 2, 16}), v(DType::kF32, {5, 4, 2, 16});
      run_ok(*impl, {.k = x, .v = x, .cu_seqlens = cu, .start = start, .block_table = pages, .k_cache = k, .v_cache = v});
      for (const Storage* cache : {&k, &v})
        for (int64_t i = 0; i < 5 * 4 * 32; ++i) {
          const int64_t page = i / 128, row = i / 32 % 4;
          const bool written = (page == 2 && row > 0) || (page == 1 && row == 3) || (page == 3 && row == 0);
          EXPECT_EQ(!std::isnan(cache->values()[i]), written) << impl->name << ": page " << page << " row " << row;
        }
    }
}

TEST(KvAppend, SameBitsWithOneThread) {
  Random random(2);
  const Inputs s(random, {5, 300, 2, 128, 16, 30}, DType::kF32);
  for (const auto* impl : runnable(kv_append_impls(), KvAppendArgs{})) {
    const Storage k1 = s.cache(DType::kBF16), v1 = s.cache(DType::kBF16), k2 = s.cache(DType::kBF16), v2 = s.cache(DType::kBF16);
    run_ok(*impl, s.args(k1, v1), 1);
    run_ok(*impl, s.args(k2, v2), 2);
    expect_same_bits(k1, k2, impl->name);
    expect_same_bits(v1, v2, impl->name);
  }
}

TEST(KvAppend, RefusesBadArguments) {
  const Storage k(DType::kF32, {3, 1, 8}), cache(DType::kF32, {4, 2, 1, 8}), narrow(DType::kF32, {4, 2, 1, 7});
  const auto message = [&](std::vector<int64_t> cu, std::vector<int64_t> start, std::vector<int64_t> pages,
                           const Storage& v_cache) {
    const Storage c = ints(cu), s = ints(start), t = ints(pages);
    Tensor table = t.tensor().reshape({int64_t(start.size()), int64_t(pages.size() / start.size())});
    return check_kv_append(
               {.k = k, .v = k, .cu_seqlens = c, .start = s, .block_table = table, .k_cache = cache, .v_cache = v_cache})
        .message();
  };
  EXPECT_EQ(message({0, 3}, {1}, {3, 0}, cache), "");
  EXPECT_EQ(message({0, 3}, {1}, {3, -1}, cache), "kv_append: block_table[0, 1] is -1, wanted a page from 0 to 3");
  EXPECT_EQ(message({0, 3}, {0}, {3, 4}, cache), "kv_append: block_table[0, 1] is 4, wanted a page from 0 to 3");
  EXPECT_EQ(message({0, 3}, {2}, {3, 0}, cache), "kv_append: start[0] + 3 rows end at 5, but 2 pages of 2 hold 4");
  EXPECT_EQ(message({0, 3}, {-1}, {3, 0}, cache), "kv_append: start[0] is -1, wanted 0 or more");
  EXPECT_EQ(message({0, 2}, {0}, {3, 0}, cache), "kv_append: cu_seqlens[1] is 2, wanted T = 3");
  EXPECT_EQ(message({1, 3}, {0}, {3, 0}, cache), "kv_append: cu_seqlens[0] is 1, wanted 0");
  EXPECT_EQ(message({0, 3, 2}, {0, 0}, {3, 0, 1, 2}, cache), "kv_append: cu_seqlens[2] is less than the entry before it");
  EXPECT_EQ(message({0, 3}, {1}, {3, 0}, narrow), "kv_append: v_cache has shape [4, 2, 1, 7], wanted [4, 2, 1, 8]");
  EXPECT_EQ(message({0}, {1}, {3, 0}, cache), "kv_append: cu_seqlens has shape [1], wanted [2]");
}

}  // namespace
}  // namespace sluice
