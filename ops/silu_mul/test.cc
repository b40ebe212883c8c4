#include "ops/silu_mul/cases.h"
#include "ops/silu_mul/silu_mul.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

TEST(SiluMul, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const SiluMulCase& c : kSiluMulCases) {
        const Storage gate = random.normal(in, {c.rows, c.dim}, 5.0, c.in_stride), up = random.normal(in, {c.rows, c.dim});
        Storage want(out, {c.rows, c.dim});
        SiluMulArgs args{.gate = gate, .up = up, .y = want};
        ASSERT_TRUE(check_silu_mul(args).ok());
        run_ok(impl_named(silu_mul_impls(), "reference"), args);
        for (const auto* impl : runnable(silu_mul_impls(), args)) {
          Storage got(out, {c.rows, c.dim}, c.dim + 3);
          args.y = got;
          run_ok(*impl, args);
          const Tolerance limit = out == DType::kF32 ? Tolerance{2e-6, 2e-5} : Tolerance{4e-3, 8e-3};
          expect_close(got, want, limit, std::string(impl->name) + " dim " + std::to_string(c.dim));
        }
      }
}

TEST(SiluMul, FarGates) {
  Storage gate(DType::kF32, {1, 4}), up(DType::kF32, {1, 4}), y(DType::kF32, {1, 4});
  const double far[] = {-1e30, -200, 200, 1e30};
  int i = 0;
  gate.fill([&] { return far[i++]; });
  up.fill([] { return 2.0; });
  for (const auto* impl : runnable(silu_mul_impls(), SiluMulArgs{})) {
    run_ok(*impl, SiluMulArgs{.gate = gate, .up = up, .y = y});
    EXPECT_NEAR(y.values()[0], 0, 1e-30) << impl->name;
    EXPECT_NEAR(y.values()[1], 0, 1e-30) << impl->name;
    EXPECT_EQ(y.values()[2], 400) << impl->name;
    EXPECT_EQ(y.values()[3], 2 * double(1e30f)) << impl->name;
  }
}

TEST(SiluMul, SameBitsAloneAndInABatchAndInPlace) {
  Random random(2);
  const Storage gate = random.normal(DType::kF32, {33, 1100}), up = random.normal(DType::kF32, {33, 1100});
  for (const auto* impl : runnable(silu_mul_impls(), SiluMulArgs{})) {
    Storage whole(DType::kF32, {33, 1100}), rows(DType::kF32, {33, 1100}), one_thread(DType::kF32, {33, 1100});
    run_ok(*impl, SiluMulArgs{.gate = gate, .up = up, .y = whole});
    run_ok(*impl, SiluMulArgs{.gate = gate, .up = up, .y = one_thread}, 1);
    for (int64_t r = 0; r < 33; ++r) {
      const auto row = [&](const Storage& s) { return s.tensor().slice(0, r, r + 1); };
      run_ok(*impl, SiluMulArgs{.gate = row(gate), .up = row(up), .y = row(rows)});
    }
    Storage in_place(DType::kF32, {33, 1100});
    const std::vector<double> values = up.values();
    size_t i = 0;
    in_place.fill([&] { return values[i++]; });
    run_ok(*impl, SiluMulArgs{.gate = gate, .up = in_place, .y = in_place});
    expect_same_bits(whole, rows, impl->name);
    expect_same_bits(whole, one_thread, impl->name);
    expect_same_bits(whole, in_place, impl->name);
  }
}

TEST(SiluMul, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 8}), y(DType::kF32, {2, 7}), half(DType::kBF16, {2, 8});
  EXPECT_EQ(check_silu_mul({.gate = x, .up = x, .y = y}).message(), "silu_mul: y has shape [2, 7], wanted [2, 8]");
  EXPECT_EQ(check_silu_mul({.gate = x, .up = half, .y = x}).message(), "silu_mul: up is BF16, wanted F32");
  EXPECT_EQ(check_silu_mul({.gate = x, .y = x}).message(), "silu_mul: up is missing");
}

}  // namespace
}  // namespace sluice
