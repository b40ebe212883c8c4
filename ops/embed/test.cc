#include "ops/embed/cases.h"
#include "ops/embed/embed.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

Storage random_ids(Random& random, const EmbedCase& c) {
  Storage ids(DType::kI32, {c.tokens});
  ids.fill([&] { return random.integer(0, c.vocab - 1); });
  return ids;
}

TEST(Embed, EqualsTheRowsOfTheTable) {
  Random random(1);
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const EmbedCase& c : kEmbedCases) {
      const Storage ids = random_ids(random, c), table = random.normal(dtype, {c.vocab, c.dim}, 1, c.table_stride);
      std::vector<double> want;
      const std::vector<double> rows = table.values();
      for (const double id : ids.values()) want.insert(want.end(), rows.begin() + id * c.dim, rows.begin() + (id + 1) * c.dim);
      for (const auto* impl : runnable(embed_impls(), EmbedArgs{.ids = ids, .table = table})) {
        Storage got(DType::kF32, {c.tokens, c.dim}, c.out_stride);
        const EmbedArgs args{.ids = ids, .table = table, .out = got};
        ASSERT_TRUE(check_embed(args).ok());
        run_ok(*impl, args);
        EXPECT_EQ(got.values(), want) << impl->name;
        EXPECT_TRUE(got.margins_intact()) << impl->name;
      }
    }
}

TEST(Embed, OnAGpuAnUnknownIdIsARowOfNan) {
  const Storage ids = ints({1, -1, 5, 4, 0}), out(DType::kF32, {5, 24});
  Storage table(DType::kBF16, {5, 24});
  table.fill([] { return 2; });
  for (const auto* impl : runnable(embed_impls(), EmbedArgs{.ids = ids, .table = table}))
    if (is_gpu(impl->isa)) {
      run_ok(*impl, EmbedArgs{.ids = ids, .table = table, .out = out});
      for (int64_t i = 0; i < 5 * 24; ++i)
        EXPECT_EQ(std::isnan(out.values()[i]), i / 24 == 1 || i / 24 == 2) << impl->name << " " << i;
    }
}

TEST(Embed, SameBitsWithOneThread) {
  Random random(2);
  const EmbedCase c{300, 50, 512, 0, 0};
  const Storage ids = random_ids(random, c), table = random.normal(DType::kBF16, {c.vocab, c.dim});
  for (const auto* impl : runnable(embed_impls(), EmbedArgs{})) {
    Storage one(DType::kF32, {300, 512}), two(DType::kF32, {300, 512});
    run_ok(*impl, EmbedArgs{.ids = ids, .table = table, .out = one}, 1);
    run_ok(*impl, EmbedArgs{.ids = ids, .table = table, .out = two}, 2);
    expect_same_bits(one, two, impl->name);
  }
}

TEST(Embed, RefusesBadArguments) {
  const Storage table(DType::kF32, {5, 8}), out(DType::kF32, {2, 8}), narrow(DType::kF32, {2, 7});
  EXPECT_EQ(check_embed({.ids = ints({4, 5}), .table = table, .out = out}).message(), "embed: ids[1] is 5, wanted 0 to 4");
  EXPECT_EQ(check_embed({.ids = ints({-1, 0}), .table = table, .out = out}).message(), "embed: ids[0] is -1, wanted 0 to 4");
  EXPECT_EQ(check_embed({.ids = ints({0, 0}), .table = table, .out = narrow}).message(),
            "embed: out has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_embed({.ids = table, .table = table, .out = out}).message(), "embed: ids has rank 2, wanted 1");
  EXPECT_EQ(check_embed({.ids = ints({0, 0}), .out = out}).message(), "embed: table is missing");
}

}  // namespace
}  // namespace sluice
