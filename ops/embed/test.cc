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

TEST(Embed, QuantisedTableIsCodesTimesScales) {
  Random random(3);
  for (const DType type : {DType::kI8, DType::kI32})
    for (const DType scale_type : {DType::kF32, DType::kF16, DType::kBF16})
      for (const auto& [tokens, dim, groups] : {std::tuple{1, 32, 1}, {40, 96, 3}, {65, 1024, 8}, {0, 64, 1}}) {
        const int64_t columns = type == DType::kI8 ? dim : dim / 8;
        Storage ids(DType::kI32, {tokens}), codes(type, {9, columns}, columns + 3, 1), scale(scale_type, {9, groups}, groups + 1);
        ids.fill([&] { return random.integer(0, 8); });
        codes.fill([&] { return type == DType::kI8 ? random.integer(-128, 127) : random.integer(INT32_MIN, INT32_MAX); });
        scale.fill([&] { return random.normal(); });
        std::vector<double> want;
        for (const double id : ids.values())
          for (int64_t d = 0; d < dim; ++d)
            want.push_back(float(code_at(codes, int64_t(id), d)) *
                           float(scale.values()[size_t(int64_t(id) * groups + d / (dim / groups))]));
        for (const auto* impl : runnable(embed_impls(), EmbedArgs{.ids = ids, .table = codes, .scale = scale})) {
          EXPECT_FALSE(is_gpu(impl->isa));
          const Storage got(DType::kF32, {tokens, dim}, dim + 5);
          const EmbedArgs args{.ids = ids, .table = codes, .scale = scale, .out = got};
          ASSERT_TRUE(check_embed(args).ok()) << check_embed(args).message();
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
  const Storage codes(DType::kI8, {5, 32}), scale(DType::kF32, {4, 1}), wide(DType::kF32, {2, 32});
  EXPECT_EQ(check_embed({.ids = ints({0, 0}), .table = codes, .out = wide}).message(), "embed: table is I8, wanted F32 or BF16");
  EXPECT_EQ(check_embed({.ids = ints({0, 0}), .table = codes, .scale = scale, .out = wide}).message(),
            "embed: scale has shape [4, 1], wanted [5, 1] or [5, 32 / G] with G a multiple of 32");
  const Can gpu = impl_named(embed_impls(), "portable").can({.table = codes, .scale = scale});
  EXPECT_STREQ(gpu.yes() ? "" : gpu.refusal, "the table is quantised");
}

}  // namespace
}  // namespace sluice
