#include "ops/copy_rows/copy_rows.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr int64_t kRows = 7, kPlaces = 9;

struct Case {
  DType dtype;
  int64_t length, x_stride, out_stride;
};
constexpr Case kCases[] = {{DType::kF32, 1, 0, 0},      {DType::kF32, 1024, 0, 1028},    {DType::kF32, 1025, 1030, 0},
                           {DType::kBF16, 4104, 0, 0},  {DType::kBF16, 63, 64, 65},      {DType::kI32, 16, 16, 20},
                           {DType::kF8E4M3, 33, 0, 40}, {DType::kF8E4M3, 9000, 9008, 0}, {DType::kF64, 5, 6, 7}};

// What out must hold; NaN, the poison, where nothing is copied. Values count up, in what the type can hold.
void expect(const Case& c, const std::vector<int64_t>* from, const std::vector<int64_t>* to) {
  Storage x(c.dtype, {kRows, c.length}, c.x_stride);
  int64_t next = 0;
  x.fill([&] { return next++ % 13 - 6; });
  const Storage from_rows = ints(from ? *from : std::vector<int64_t>{}), to_rows = ints(to ? *to : std::vector<int64_t>{});
  for (const auto* impl : runnable(copy_rows_impls(), CopyRowsArgs{.x = x})) {
    const Storage out(c.dtype, {kPlaces, c.length}, c.out_stride);
    std::vector<double> want = out.values();
    const int64_t count = from ? int64_t(from->size()) : to ? int64_t(to->size()) : kRows;
    const std::vector<double> values = x.values();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t source = from ? (*from)[size_t(i)] : i, place = to ? (*to)[size_t(i)] : i;
      if (source >= 0 && place >= 0) std::copy_n(values.begin() + source * c.length, c.length, want.begin() + place * c.length);
    }
    CopyRowsArgs args{.x = x, .out = out};
    if (from) args.from = from_rows;
    if (to) args.to = to_rows;
    ASSERT_TRUE(check_copy_rows(args).ok()) << check_copy_rows(args).message();
    run_ok(*impl, args);
    const std::vector<double> got = out.values();
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i])))
          << impl->name << " length " << c.length << " at " << i;
    EXPECT_TRUE(out.margins_intact()) << impl->name;
  }
}

TEST(CopyRows, GathersScattersAndBoth) {
  const std::vector<int64_t> from{6, 0, 0, -1, 3}, to{8, 2, -1, 4, 0}, none;
  for (const Case& c : kCases) {
    expect(c, &from, nullptr), expect(c, nullptr, &to), expect(c, &from, &to);
    expect(c, nullptr, nullptr), expect(c, &none, nullptr), expect(c, &none, &none);
  }
}

TEST(CopyRows, OnAGpuUnknownRowsAreLeftOut) {
  Storage x(DType::kF32, {2, 3});
  x.fill([] { return 5; });
  for (const auto* impl : runnable(copy_rows_impls(), CopyRowsArgs{.x = x}))
    if (is_gpu(impl->isa)) {
      const Storage out(DType::kF32, {3, 3});
      run_ok(*impl, CopyRowsArgs{.x = x, .out = out, .from = ints({0, 2, 1}), .to = ints({0, 1, 3})});
      for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(std::isnan(out.values()[size_t(i)]), i >= 3) << i;
    }
}

TEST(CopyRows, RefusesBadArguments) {
  const Storage x(DType::kF32, {5, 8}), out(DType::kF32, {2, 8}), narrow(DType::kF32, {2, 7}), bf16(DType::kBF16, {2, 8});
  EXPECT_EQ(check_copy_rows({.x = x, .out = out, .from = ints({4, 5})}).message(), "copy_rows: from[1] is 5, there are 5 rows");
  EXPECT_EQ(check_copy_rows({.x = x, .out = out, .from = ints({4}), .to = ints({2})}).message(),
            "copy_rows: to[0] is 2, there are 2 rows");
  EXPECT_EQ(check_copy_rows({.x = x, .out = out}).message(), "copy_rows: x or out has fewer rows than there are to copy");
  EXPECT_EQ(check_copy_rows({.x = x, .out = out, .from = ints({0, 1, 2})}).message(),
            "copy_rows: x or out has fewer rows than there are to copy");
  EXPECT_EQ(check_copy_rows({.x = x, .out = narrow, .from = ints({0})}).message(),
            "copy_rows: out has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_copy_rows({.x = x, .out = bf16, .from = ints({0})}).message(), "copy_rows: out is BF16, wanted F32");
  EXPECT_EQ(check_copy_rows({.x = x, .out = out, .from = ints({0}), .to = ints({0, 1})}).message(),
            "copy_rows: to has shape [2], wanted [1]");
  EXPECT_EQ(check_copy_rows({.out = out}).message(), "copy_rows: x is missing");
}

}  // namespace
}  // namespace sluice
