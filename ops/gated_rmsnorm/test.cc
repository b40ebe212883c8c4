#include "ops/gated_rmsnorm/cases.h"
#include "ops/gated_rmsnorm/gated_rmsnorm.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::vector<int64_t> shape_of(const GatedRmsnormCase& c) {
  return c.heads ? std::vector<int64_t>{c.rows, c.heads, c.dim} : std::vector<int64_t>{c.rows, c.dim};
}

void compare(Random& random, const GatedRmsnormCase& c, DType in, DType out, Gate gate, bool norm_first) {
  const Storage x = random.normal(in, shape_of(c), 2.0, c.row_stride), z = random.normal(out, shape_of(c), 3.0);
  const Storage weight = random.normal(in, {c.dim});
  Storage want(out, shape_of(c), c.row_stride);
  GatedRmsnormArgs args{.x = x, .z = z, .weight = weight, .y = want, .gate = gate, .norm_before_gate = norm_first};
  ASSERT_TRUE(check_gated_rmsnorm(args).ok());
  run_ok(impl_named(gated_rmsnorm_impls(), "reference"), args);
  for (const auto* impl : runnable(gated_rmsnorm_impls(), args)) {
    Storage got(out, shape_of(c), c.row_stride);
    args.y = got;
    run_ok(*impl, args);
    const Tolerance limit = out == DType::kF32 ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3};
    expect_close(got, want, limit, std::string(impl->name) + " dim " + std::to_string(c.dim));
  }
}

TEST(GatedRmsnorm, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const Gate gate : {Gate::kSilu, Gate::kSigmoid})
        for (const bool norm_first : {true, false})
          for (const GatedRmsnormCase& c : kGatedRmsnormCases) compare(random, c, in, out, gate, norm_first);
}

// The formula written once more by hand: D = 1, so that the norm leaves the sign only.
TEST(GatedRmsnorm, OrderOfGateAndNorm) {
  Storage x(DType::kF32, {1, 1}), z(DType::kF32, {1, 1}), weight(DType::kF32, {1}), y(DType::kF32, {1, 1});
  x.fill([] { return -3.0; });
  z.fill([] { return 2.0; });
  weight.fill([] { return 10.0; });
  const double silu = 2 / (1 + std::exp(-2.0));
  for (const auto* impl : runnable(gated_rmsnorm_impls(), GatedRmsnormArgs{})) {
    GatedRmsnormArgs args{.x = x, .z = z, .weight = weight, .y = y};
    run_ok(*impl, args);
    EXPECT_NEAR(y.values()[0], -10 * silu, 1e-5) << impl->name;
    args.norm_before_gate = false;
    run_ok(*impl, args);
    EXPECT_NEAR(y.values()[0], -10, 1e-5) << impl->name;
  }
}

TEST(GatedRmsnorm, SameBitsAloneAndInABatchAndInPlace) {
  Random random(2);
  const Storage x = random.normal(DType::kF32, {257, 100}), z = random.normal(DType::kF32, {257, 100});
  const Storage weight = random.normal(DType::kF32, {100});
  for (const auto* impl : runnable(gated_rmsnorm_impls(), GatedRmsnormArgs{})) {
    Storage whole(DType::kF32, {257, 100}), rows(DType::kF32, {257, 100}), one_thread(DType::kF32, {257, 100});
    run_ok(*impl, GatedRmsnormArgs{.x = x, .z = z, .weight = weight, .y = whole});
    run_ok(*impl, GatedRmsnormArgs{.x = x, .z = z, .weight = weight, .y = one_thread}, 1);
    for (int64_t r = 0; r < 257; ++r) {
      const auto row = [&](const Storage& s) { return s.tensor().slice(0, r, r + 1); };
      run_ok(*impl, GatedRmsnormArgs{.x = row(x), .z = row(z), .weight = weight, .y = row(rows)});
    }
    Storage in_place(DType::kF32, {257, 100});
    const std::vector<double> values = x.values();
    size_t i = 0;
    in_place.fill([&] { return values[i++]; });
    run_ok(*impl, GatedRmsnormArgs{.x = in_place, .z = z, .weight = weight, .y = in_place});
    expect_same_bits(whole, rows, impl->name);
    expect_same_bits(whole, one_thread, impl->name);
    expect_same_bits(whole, in_place, impl->name);
  }
}

TEST(GatedRmsnorm, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), y(DType::kF32, {2, 7}), w(DType::kF32, {8}), ids(DType::kI32, {2, 8});
  EXPECT_EQ(check_gated_rmsnorm({.x = x, .z = x, .weight = w, .y = y}).message(),
            "gated_rmsnorm: y has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_gated_rmsnorm({.x = x, .z = ids, .weight = w, .y = x}).message(), "gated_rmsnorm: z is I32, wanted F32 or BF16");
  EXPECT_EQ(check_gated_rmsnorm({.x = x, .weight = w, .y = x}).message(), "gated_rmsnorm: z is missing");
  EXPECT_EQ(check_gated_rmsnorm({.x = y, .z = y, .weight = w, .y = y}).message(),
            "gated_rmsnorm: weight has shape [8], wanted [7]");
}

}  // namespace
}  // namespace sluice
