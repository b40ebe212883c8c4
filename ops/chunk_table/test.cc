#include "ops/chunk_table/cases.h"
#include "ops/chunk_table/chunk_table.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Call {
  int64_t B, T = 0;
  Storage cu, start, counts, offsets, chunks;

  explicit Call(const ChunkTableCase& c, int64_t spare_rows = 0)
      : B(int64_t(c.lengths.size())),
        cu(ends_of(c.lengths, T)),
        start(ints(c.starts)),
        counts(DType::kI32, {B}),
        offsets(DType::kI32, {B + 1}),
        chunks(DType::kI32, {chunk_table_rows(T, B) + spare_rows, 2}) {}

  static Storage ends_of(const std::vector<int64_t>& lengths, int64_t& total) {
    std::vector<int64_t> ends{0};
    for (const int64_t n : lengths) ends.push_back(ends.back() + n);
    total = ends.back();
    return ints(ends);
  }
  ChunkTableArgs args() const {
    return {.cu_seqlens = cu, .start = start, .counts = counts, .offsets = offsets, .chunks = chunks, .rows = T};
  }
};

void expect_same_tables(const Call& got, const Call& want, const std::string& what) {
  expect_same_bits(got.counts, want.counts, what + ": counts");
  expect_same_bits(got.offsets, want.offsets, what + ": offsets");
  expect_same_bits(got.chunks, want.chunks, what + ": chunks");
}

void compare(const ChunkTableCase& c, const std::string& what) {
  for (const bool optional : {true, false}) {
    const auto args_of = [&](const Call& call) {
      ChunkTableArgs a = call.args();
      if (!optional) a.start = a.counts = {};
      return a;
    };
    const Call want(c, 3);
    ASSERT_EQ(check_chunk_table(args_of(want)).message(), "");
    run_ok(impl_named(chunk_table_impls(), "reference"), args_of(want));
    for (const auto* impl : runnable(chunk_table_impls(), args_of(want))) {
      const Call got(c, 3);
      run_ok(*impl, args_of(got));
      expect_same_tables(got, want, what + " " + impl->name);
    }
  }
}

TEST(ChunkTable, MatchesReference) {
  for (const ChunkTableCase& c : chunk_table_cases()) compare(c, std::to_string(c.lengths.size()) + " sequences");
}

// More sequences than a block has threads, and more chunks than a block's share; many without rows.
TEST(ChunkTable, ManySequences) {
  for (const uint64_t seed : {1, 2, 3}) {
    Random random(seed);
    ChunkTableCase c;
    for (int64_t b = 0; b < (seed == 1 ? 1024 : 3000); ++b) {
      c.lengths.push_back(std::max<int64_t>(0, random.integer(-100, seed == 3 ? 1000 : 150)));
      c.starts.push_back(random.integer(0, 300));
    }
    compare(c, "seed " + std::to_string(seed));
  }
}

// The limit on the number of chunks is reached: a row on either side of a whole chunk.
TEST(ChunkTable, KnownValues) {
  const ChunkTableCase c{{66, 0, 2}, {63, 9, 127}};
  for (const auto* impl : runnable(chunk_table_impls(), ChunkTableArgs{})) {
    const Call call(c);
    run_ok(*impl, call.args());
    EXPECT_EQ(call.counts.values(), (std::vector<double>{3, 0, 2})) << impl->name;
    EXPECT_EQ(call.offsets.values(), (std::vector<double>{0, 3, 3, 5})) << impl->name;
    EXPECT_EQ(call.chunks.values(), (std::vector<double>{0, 0, 0, 1, 0, 2, 2, 0, 2, 1, -1, -1, -1, -1})) << impl->name;
  }
}

TEST(ChunkTable, RefusesBadArguments) {
  const Call call({{2, 3}, {0, 9}});
  const auto message = [&](auto change) {
    ChunkTableArgs a = call.args();
    change(a);
    return check_chunk_table(a).message();
  };
  const Storage none = ints({}), late = ints({0, 2, 6}), early = ints({0, -1}), few(DType::kI32, {3, 2});
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = {}; }), "chunk_table: cu_seqlens is missing");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = none; }),
            "chunk_table: cu_seqlens is empty, wanted one entry more than there are sequences");
  EXPECT_EQ(message([&](auto& a) { a.cu_seqlens = late; }), "chunk_table: cu_seqlens[2] is 6, wanted 2 to 5");
  EXPECT_EQ(message([&](auto& a) { a.start = early; }), "chunk_table: start[1] is -1, wanted a position of 0 or more");
  EXPECT_EQ(message([&](auto& a) { a.chunks = few; }), "chunk_table: chunks has 3 rows, wanted 4 or more");
  EXPECT_EQ(message([&](auto& a) { a.offsets = early; }), "chunk_table: offsets has shape [2], wanted [3]");
}

}  // namespace
}  // namespace sluice
