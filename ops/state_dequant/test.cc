#include "ops/state_dequant/state_dequant.h"
#include "ops/state_quant/cases.h"
#include "ops/state_quant/state_quant.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

Storage states_of(DType dtype, const StateQuantCase& c) {
  return Storage(dtype, {c.states, c.rows, c.length}, c.rows * c.length + c.gap);
}

TEST(StateDequant, EveryCodeTimesItsRowsScale) {
  Random random(1);
  for (const StateQuantCase& c : kStateQuantCases) {
    Storage q = states_of(DType::kI8, c), scale(DType::kF32, {c.states, c.rows});
    q.fill([&] { return random.integer(-127, 127); });
    scale.fill([&] { return random.integer(0, 9) == 0 ? 0x1p-100 / 127 : std::exp(random.normal(0, 4)); });
    const std::vector<double> codes = q.values(), scales = scale.values();
    for (const auto* impl :
         runnable(state_dequant_impls(), StateDequantArgs{.q = q, .scale = scale, .x = states_of(DType::kF32, c)}))
      for (const int threads : {1, 2}) {
        const Storage x = states_of(DType::kF32, c);
        const StateDequantArgs args{.q = q, .scale = scale, .x = x};
        ASSERT_TRUE(check_state_dequant(args).ok()) << check_state_dequant(args).message();
        run_ok(*impl, args, threads);
        const std::vector<double> got = x.values();
        for (size_t i = 0; i < got.size(); ++i)
          ASSERT_EQ(got[i], float(codes[i] * scales[i / size_t(c.length)])) << impl->name << " value " << i;
        EXPECT_TRUE(x.margins_intact()) << impl->name;
      }
  }
}

// There and back: the largest number stays finite, zeros stay zeros, and what was not finite is not.
TEST(StateDequant, SpecialValues) {
  constexpr float kLargest = 3.4028235e38f;
  const std::vector<std::vector<float>> rows{{0, -0.0f}, {kLargest, -kLargest}, {INFINITY, 1}, {NAN, 1}, {1, -1}};
  const StateQuantCase c{1, int64_t(rows.size()), 16, 0};
  Storage x = states_of(DType::kF32, c);
  size_t i = 0;
  x.fill([&] {
    const auto& row = rows[i / 16];
    return row[i++ % 2];
  });
  const Storage q = states_of(DType::kI8, c), scale(DType::kF32, {c.states, c.rows}), error(DType::kF32, {c.states});
  run_ok(impl_named(state_quant_impls(), "reference"), StateQuantArgs{.x = x, .q = q, .scale = scale, .error = error});
  for (const auto* impl : runnable(state_dequant_impls(), StateDequantArgs{.q = q, .scale = scale, .x = x})) {
    const Storage back = states_of(DType::kF32, c);
    run_ok(*impl, StateDequantArgs{.q = q, .scale = scale, .x = back});
    const std::vector<double> got = back.values();
    for (size_t d = 0; d < 16; ++d) {
      EXPECT_EQ(got[d], 0) << impl->name;
      EXPECT_NEAR(got[16 + d] / kLargest, d % 2 ? -1 : 1, 1e-7) << impl->name;
      EXPECT_TRUE(std::isnan(got[32 + d]) && std::isnan(got[48 + d])) << impl->name;
      EXPECT_NEAR(got[64 + d], d % 2 ? -1 : 1, 1e-7) << impl->name;
    }
  }
}

TEST(StateDequant, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 3, 32}), odd(DType::kI8, {2, 3, 24}), q(DType::kI8, {2, 3, 32}), s(DType::kF32, {2, 3});
  const auto message = [](const StateDequantArgs& args) { return check_state_dequant(args).message(); };
  EXPECT_EQ(message({}), "state_dequant: q is missing");
  EXPECT_EQ(message({.q = x}), "state_dequant: q is F32, wanted I8");
  EXPECT_EQ(message({.q = odd}), "state_dequant: rows must have a multiple of 16 values");
  EXPECT_EQ(message({.q = q, .scale = x}), "state_dequant: scale has shape [2, 3, 32], wanted [2, 3]");
  EXPECT_EQ(message({.q = q, .scale = s}), "state_dequant: x is missing");
  EXPECT_EQ(message({.q = q, .scale = s, .x = x}), "");
}

}  // namespace
}  // namespace sluice
