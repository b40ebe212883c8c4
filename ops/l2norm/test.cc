#include "ops/l2norm/cases.h"
#include "ops/l2norm/l2norm.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::vector<int64_t> shape_of(const L2normCase& c) {
  return c.heads ? std::vector<int64_t>{c.rows, c.heads, c.dim} : std::vector<int64_t>{c.rows, c.dim};
}

TEST(L2norm, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const L2normCase& c : kL2normCases)
        for (const int64_t offset : {0, 1}) {  // elements in front of x: an odd address
          const Storage x = random.normal(in, shape_of(c), 2.0, c.row_stride, offset);
          Storage want(out, shape_of(c), c.row_stride);
          L2normArgs args{.x = x, .y = want};
          ASSERT_TRUE(check_l2norm(args).ok());
          run_ok(impl_named(l2norm_impls(), "reference"), args);
          for (const auto* impl : runnable(l2norm_impls(), args)) {
            Storage got(out, shape_of(c), c.row_stride);
            args.y = got;
            run_ok(*impl, args);
            const Tolerance limit = out == DType::kF32 ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3};
            expect_close(got, want, limit, std::string(impl->name) + " dim " + std::to_string(c.dim));
          }
        }
}

TEST(L2norm, ZeroRowStaysZero) {
  Storage x(DType::kF32, {2, 20}), y(DType::kF32, {2, 20});
  x.fill([] { return 0.0; });
  for (const auto* impl : runnable(l2norm_impls(), L2normArgs{.x = x, .y = y})) {
    run_ok(*impl, L2normArgs{.x = x, .y = y});
    EXPECT_EQ(y.values(), std::vector<double>(40, 0.0)) << impl->name;
  }
}

TEST(L2norm, SameBitsAloneAndInABatch) {
  Random random(2);
  const Storage x = random.normal(DType::kF32, {257, 100});
  for (const auto* impl : runnable(l2norm_impls(), L2normArgs{.x = x, .y = x})) {
    Storage whole(DType::kF32, {257, 100}), rows(DType::kF32, {257, 100}), one_thread(DType::kF32, {257, 100});
    run_ok(*impl, L2normArgs{.x = x, .y = whole});
    run_ok(*impl, L2normArgs{.x = x, .y = one_thread}, 1);
    for (int64_t r = 0; r < 257; ++r)
      run_ok(*impl, L2normArgs{.x = x.tensor().slice(0, r, r + 1), .y = rows.tensor().slice(0, r, r + 1)});
    expect_same_bits(whole, rows, impl->name);
    expect_same_bits(whole, one_thread, impl->name);
  }
}

TEST(L2norm, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), y(DType::kF32, {2, 7}), ids(DType::kI32, {2, 8});
  EXPECT_EQ(check_l2norm({.x = x, .y = y}).message(), "l2norm: y has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_l2norm({.x = ids, .y = x}).message(), "l2norm: x is I32, wanted F32 or BF16");
  EXPECT_EQ(check_l2norm({.y = x}).message(), "l2norm: x is missing");
}

}  // namespace
}  // namespace sluice
