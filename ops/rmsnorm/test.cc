#include "ops/rmsnorm/cases.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::vector<int64_t> shape_of(const RmsnormCase& c) {
  return c.heads ? std::vector<int64_t>{c.rows, c.heads, c.dim} : std::vector<int64_t>{c.rows, c.dim};
}

Tolerance limit_of(DType out) { return out == DType::kF32 ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3}; }

TEST(Rmsnorm, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const RmsnormCase& c : kRmsnormCases) {
        const Storage x = random.normal(in, shape_of(c), 2.0, c.row_stride), weight = random.normal(out, {c.dim});
        Storage want(out, shape_of(c), c.row_stride);
        RmsnormArgs args{.x = x, .weight = weight, .y = want, .weight_offset = c.rows % 2 ? 1.0f : 0.0f};
        ASSERT_TRUE(check_rmsnorm(args).ok());
        run_ok(impl_named(rmsnorm_impls(), "reference"), args);
        for (const auto* impl : runnable(rmsnorm_impls(), args)) {
          Storage got(out, shape_of(c), c.row_stride);
          args.y = got;
          run_ok(*impl, args);
          expect_close(got, want, limit_of(out), std::string(impl->name) + " dim " + std::to_string(c.dim));
        }
      }
}

// Every pair of dtypes of the sum's two ends, with and without rounding before the norm.
TEST(Rmsnorm, AddsTheResidual) {
  Random random(2);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType sum : {DType::kF32, DType::kBF16})
      for (const bool rounded : {false, true})
        for (const RmsnormCase& c : kRmsnormCases) {
          const Storage x = random.normal(in, shape_of(c), 1, c.row_stride), residual = random.normal(sum, shape_of(c), 3);
          const Storage weight = random.normal(DType::kBF16, {c.dim});
          Storage want(DType::kF32, shape_of(c)), want_sum(sum, shape_of(c), c.row_stride);
          RmsnormArgs args{.x = x, .residual = residual, .weight = weight, .y = want, .residual_out = want_sum};
          args.norm_rounded_sum = rounded;
          ASSERT_TRUE(check_rmsnorm(args).ok());
          run_ok(impl_named(rmsnorm_impls(), "reference"), args);
          for (const auto* impl : runnable(rmsnorm_impls(), args)) {
            Storage got(DType::kF32, shape_of(c)), got_sum(sum, shape_of(c), c.row_stride);
            args.y = got, args.residual_out = got_sum;
            run_ok(*impl, args);
            expect_close(got, want, limit_of(DType::kF32), std::string(impl->name) + " dim " + std::to_string(c.dim));
            expect_same_bits(got_sum, want_sum, impl->name);
          }
        }
}

// As transformers in bf16: the normed row is rounded, then the product.
TEST(Rmsnorm, RoundsAheadOfTheWeight) {
  Random random(5);
  for (const RmsnormCase& c : kRmsnormCases) {
    const Storage x = random.normal(DType::kBF16, shape_of(c), 2.0, c.row_stride), weight = random.normal(DType::kBF16, {c.dim});
    Storage want(DType::kF32, shape_of(c)), plain(DType::kF32, shape_of(c));
    RmsnormArgs args{.x = x, .weight = weight, .y = plain};
    run_ok(impl_named(rmsnorm_impls(), "reference"), args);
    args.y = want, args.round_normed = true;
    run_ok(impl_named(rmsnorm_impls(), "reference"), args);
    if (want.tensor().numel() > 20) {
      EXPECT_GT(error(want.values(), plain.values()).rel_rms, 1e-4);
    }
    for (const auto* impl : runnable(rmsnorm_impls(), args)) {
      Storage got(DType::kF32, shape_of(c));
      args.y = got;
      run_ok(*impl, args);
      // What lies near the middle of two may be rounded the other way: a step of bf16, of few elements.
      expect_close(got, want, {2e-4, 8e-3}, std::string(impl->name) + " dim " + std::to_string(c.dim));
    }
  }
}

TEST(Rmsnorm, OutputsMayBeInputs) {
  Random random(3);
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const auto* impl : runnable(rmsnorm_impls(), RmsnormArgs{})) {
      const Storage x = random.normal(dtype, {5, 100}), residual = random.normal(dtype, {5, 100}),
                    weight = random.normal(dtype, {100});
      Storage y(dtype, {5, 100}), sum(dtype, {5, 100}), x2(dtype, {5, 100}), r2(dtype, {5, 100});
      run_ok(*impl, RmsnormArgs{.x = x, .residual = residual, .weight = weight, .y = y, .residual_out = sum});
      size_t i = 0, j = 0;
      x2.fill([&] { return x.values()[i++]; });
      r2.fill([&] { return residual.values()[j++]; });
      run_ok(*impl, RmsnormArgs{.x = x2, .residual = r2, .weight = weight, .y = x2, .residual_out = r2});
      expect_same_bits(x2, y, impl->name);
      expect_same_bits(r2, sum, impl->name);
    }
}

TEST(Rmsnorm, ZeroRowStaysZero) {
  Storage x(DType::kF32, {2, 20}), y(DType::kF32, {2, 20}), weight(DType::kF32, {20});
  x.fill([] { return 0.0; });
  weight.fill([] { return 1.0; });
  for (const auto* impl : runnable(rmsnorm_impls(), RmsnormArgs{})) {
    run_ok(*impl, RmsnormArgs{.x = x, .weight = weight, .y = y});
    EXPECT_EQ(y.values(), std::vector<double>(40, 0.0)) << impl->name;
  }
}

TEST(Rmsnorm, SameBitsAloneAndInABatch) {
  Random random(4);
  const Storage x = random.normal(DType::kBF16, {257, 200}), residual = random.normal(DType::kF32, {257, 200});
  const Storage weight = random.normal(DType::kF32, {200});
  for (const auto* impl : runnable(rmsnorm_impls(), RmsnormArgs{})) {
    Storage whole(DType::kF32, {257, 200}), rows(DType::kF32, {257, 200}), one_thread(DType::kF32, {257, 200});
    run_ok(*impl, RmsnormArgs{.x = x, .residual = residual, .weight = weight, .y = whole});
    run_ok(*impl, RmsnormArgs{.x = x, .residual = residual, .weight = weight, .y = one_thread}, 1);
    for (int64_t r = 0; r < 257; ++r) {
      const auto row = [&](const Storage& s) { return s.tensor().slice(0, r, r + 1); };
      run_ok(*impl, RmsnormArgs{.x = row(x), .residual = row(residual), .weight = weight, .y = row(rows)});
    }
    expect_same_bits(whole, rows, impl->name);
    expect_same_bits(whole, one_thread, impl->name);
  }
}

TEST(Rmsnorm, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), y(DType::kF32, {2, 7}), w(DType::kF32, {8}), ids(DType::kI32, {2, 8});
  EXPECT_EQ(check_rmsnorm({.x = x, .weight = w, .y = y}).message(), "rmsnorm: y has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_rmsnorm({.x = x, .residual = y, .weight = w, .y = x}).message(),
            "rmsnorm: residual has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_rmsnorm({.x = ids, .weight = w, .y = x}).message(), "rmsnorm: x is I32, wanted F32 or BF16");
  EXPECT_EQ(check_rmsnorm({.x = x, .y = x}).message(), "rmsnorm: weight is missing");
  EXPECT_EQ(check_rmsnorm({.x = x, .weight = w, .y = x, .norm_rounded_sum = true}).message(),
            "rmsnorm: norm_rounded_sum needs residual_out, whose dtype gives the rounding");
}

}  // namespace
}  // namespace sluice
