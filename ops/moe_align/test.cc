#include <set>

#include "ops/moe_align/cases.h"
#include "ops/moe_align/moe_align.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Outputs {
  Storage sorted, experts, end{DType::kI32, {1}};
  explicit Outputs(const MoeAlignArgs& a, int64_t spare = 0)
      : sorted(DType::kI32, {moe_align_capacity(a.topk_ids.numel(), a.experts, a.block) + spare}),
        experts(DType::kI32, {moe_align_blocks(a.topk_ids.numel(), a.experts, a.block) + spare}) {}
};

MoeAlignArgs into(MoeAlignArgs a, const Outputs& out) {
  a.sorted_token_ids = out.sorted, a.expert_ids = out.experts, a.num_tokens_post_pad = out.end;
  return a;
}

void expect_same(const Outputs& got, const Outputs& want, const std::string& what) {
  expect_same_bits(got.sorted, want.sorted, what + ": sorted_token_ids");
  expect_same_bits(got.experts, want.experts, what + ": expert_ids");
  expect_same_bits(got.end, want.end, what + ": num_tokens_post_pad");
}

enum class Kind { kEven, kOne, kFew, kHoles, kNone };

Storage random_ids(Random& random, const MoeAlignCase& c, Kind kind, int64_t row_stride = 0) {
  Storage ids(DType::kI32, {c.tokens, c.top_k}, row_stride);
  ids.fill([&]() -> int64_t {
    const int64_t any = random.integer(0, c.experts - 1), odd = random.integer(0, 19);
    if (kind == Kind::kOne) return c.experts - 1;
    if (kind == Kind::kFew) return any * any / c.experts;
    if (kind == Kind::kNone) return -1;
    if (kind == Kind::kHoles && odd < 4) return odd < 2 ? -1 : odd == 2 ? c.experts : INT32_MIN;
    return any;
  });
  return ids;
}

std::string name_of(const MoeAlignCase& c) {
  return std::to_string(c.tokens) + "x" + std::to_string(c.top_k) + " of " + std::to_string(c.experts) + ", block " +
         std::to_string(c.block);
}

void expect_as_reference(const MoeAlignArgs& a, const std::string& what, int64_t spare = 0) {
  const Outputs want(a, spare);
  ASSERT_TRUE(check_moe_align(into(a, want)).ok()) << check_moe_align(into(a, want)).message() << " " << what;
  run_ok(impl_named(moe_align_impls(), "reference"), into(a, want));
  for (const auto* impl : runnable(moe_align_impls(), into(a, want)))
    for (const int threads : {1, 2}) {
      if (threads == 1 && a.topk_ids.numel() < 16384) continue;  // one part of work
      const Outputs got(a, spare);
      run_ok(*impl, into(a, got), threads);
      expect_same(got, want, std::string(impl->name) + " " + what);
    }
}

TEST(MoeAlign, MatchesReference) {
  Random random(1);
  for (const MoeAlignCase& c : kMoeAlignCases)
    for (const Kind kind : {Kind::kEven, Kind::kOne, Kind::kFew, Kind::kHoles, Kind::kNone}) {
      const Storage ids = random_ids(random, c, kind, kind == Kind::kHoles ? c.top_k + 3 : 0);
      expect_as_reference({.topk_ids = ids, .experts = c.experts, .block = c.block}, name_of(c), kind == Kind::kFew ? 5000 : 0);
    }
}

TEST(MoeAlign, LocalExperts) {
  Random random(2);
  for (const MoeAlignCase& c : {MoeAlignCase{40, 8, 64, 16}, {700, 8, 256, 64}}) {
    const Storage ids = random_ids(random, c, Kind::kHoles);
    Storage map(DType::kI32, {c.experts});
    int64_t next = 0;
    map.fill([&] { return random.integer(0, 2) ? -1 : next++; });
    MoeAlignArgs a{.topk_ids = ids, .expert_map = map, .experts = c.experts, .block = c.block};
    expect_as_reference(a, "map");
    a.expert_map = {};
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 0}, {16, 8}, {c.experts - 3, 3}, {5, -1}, {c.experts, 0}}) {
      a.first_local = first, a.local_experts = count;
      expect_as_reference(a, "from " + std::to_string(first));
    }
  }
}

// By hand: two entries of expert 1, none of expert 0, a full block and one more of expert 2, which is the first local one.
TEST(MoeAlign, Formula) {
  std::vector<int64_t> entries(24, -1);
  entries[3] = entries[20] = 1;
  std::vector<int64_t> of_two;
  for (int64_t i = 4; i < 24 && of_two.size() < 17; ++i)
    if (i != 20) entries[size_t(i)] = 2, of_two.push_back(i);
  Storage ids(DType::kI32, {8, 3});
  size_t at = 0;
  ids.fill([&] { return entries[at++]; });
  const MoeAlignArgs a{.topk_ids = ids, .experts = 3, .block = 16, .first_local = 2};
  std::vector<double> sorted(3 * 16 + 21, 24);
  sorted[0] = 3, sorted[1] = 20;
  std::ranges::copy(of_two, sorted.begin() + 16);
  for (const auto* impl : runnable(moe_align_impls(), a)) {
    const Outputs got(a);
    run_ok(*impl, into(a, got));
    EXPECT_EQ(got.sorted.values(), sorted) << impl->name;
    EXPECT_EQ(got.experts.values(), (std::vector<double>{-1, 0, 0, -1, -1})) << impl->name;
    EXPECT_EQ(got.end.values(), std::vector<double>{48}) << impl->name;
  }
}

// What a grouped product relies on, of a prompt's worth of entries: each once, in its expert's blocks, the rest padding.
TEST(MoeAlign, EveryEntryOnce) {
  Random random(3);
  constexpr int64_t kTokens = 40000, kTopK = 8, kExperts = 256, kBlock = 64;
  const Storage ids = random_ids(random, {kTokens, kTopK, kExperts, kBlock}, Kind::kHoles);
  const int32_t* expert_of = ids.tensor().as<int32_t>();
  const MoeAlignArgs a{.topk_ids = ids, .experts = kExperts, .block = kBlock};
  for (const auto* impl : runnable(moe_align_impls(), a)) {
    const Outputs got(a);
    run_ok(*impl, into(a, got));
    const int32_t *sorted = got.sorted.tensor().as<int32_t>(), *experts = got.experts.tensor().as<int32_t>();
    const int64_t end = got.end.tensor().as<int32_t>()[0];
    ASSERT_EQ(end % kBlock, 0) << impl->name;
    std::vector<bool> seen(size_t(kTokens * kTopK));
    for (int64_t i = 0; i < got.sorted.tensor().dim(0); ++i) {
      const int32_t entry = sorted[i];
      if (entry == kTokens * kTopK) continue;
      ASSERT_LT(i, end) << impl->name;
      ASSERT_EQ(expert_of[entry], experts[i / kBlock]) << impl->name;
      ASSERT_FALSE(seen[size_t(entry)]) << impl->name;
      ASSERT_TRUE(i % kBlock == 0 || sorted[i - 1] < entry) << impl->name << ": out of order";
      seen[size_t(entry)] = true;
    }
    for (int64_t i = 0; i < kTokens * kTopK; ++i)
      ASSERT_EQ(seen[size_t(i)], expert_of[i] >= 0 && expert_of[i] < kExperts) << impl->name << " entry " << i;
    EXPECT_TRUE(got.sorted.margins_intact() && got.experts.margins_intact() && got.end.margins_intact()) << impl->name;
  }
}

TEST(MoeAlign, RefusesBadArguments) {
  const Storage ids(DType::kI32, {4, 8}), sorted(DType::kI32, {32 + 16 * 63}), blocks(DType::kI32, {17}), one(DType::kI32, {1}),
      floats(DType::kF32, {16});
  const auto message = [&](auto&& change) {
    MoeAlignArgs a{
        .topk_ids = ids, .sorted_token_ids = sorted, .expert_ids = blocks, .num_tokens_post_pad = one, .experts = 16, .block = 64};
    change(a);
    return check_moe_align(a).message();
  };
  EXPECT_EQ(message([](MoeAlignArgs&) {}), "");
  EXPECT_EQ(message([](MoeAlignArgs& a) { a.topk_ids = {}; }), "moe_align: topk_ids is missing");
  EXPECT_EQ(message([&](MoeAlignArgs& a) { a.topk_ids = one; }), "moe_align: topk_ids has rank 1, wanted 2");
  EXPECT_EQ(message([](MoeAlignArgs& a) { a.experts = 2049; }), "moe_align: experts must be 1 to 2048");
  EXPECT_EQ(message([](MoeAlignArgs& a) { a.block = 48; }), "moe_align: block must be 16, 32, 64 or 128");
  EXPECT_EQ(message([&](MoeAlignArgs& a) { a.expert_map = floats; }), "moe_align: expert_map is F32, wanted I32");
  EXPECT_EQ(message([&](MoeAlignArgs& a) { a.expert_map = one; }), "moe_align: expert_map has shape [1], wanted [16]");
  EXPECT_EQ(message([&](MoeAlignArgs& a) { a.expert_map = blocks.tensor().slice(0, 0, 16), a.first_local = 3; }),
            "moe_align: expert_map and a range of local experts are both given, wanted one");
  EXPECT_EQ(message([](MoeAlignArgs& a) { a.first_local = 17; }), "moe_align: local experts are not among all");
  EXPECT_EQ(message([](MoeAlignArgs& a) { a.experts = 17; }), "moe_align: sorted_token_ids has room for 1040, wanted 1103 or more");
  EXPECT_EQ(message([&](MoeAlignArgs& a) { a.expert_ids = one; }), "moe_align: expert_ids has room for 1, wanted 17 or more");
  EXPECT_EQ(message([&](MoeAlignArgs& a) { a.num_tokens_post_pad = blocks; }),
            "moe_align: num_tokens_post_pad has shape [17], wanted [1]");
}

}  // namespace
}  // namespace sluice
