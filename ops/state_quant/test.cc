#include <numeric>

#include "ops/state_quant/cases.h"
#include "ops/state_quant/state_quant.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

// [N, R, D] with a gap between the states.
Storage states_of(DType dtype, const StateQuantCase& c) {
  return Storage(dtype, {c.states, c.rows, c.length}, c.rows * c.length + c.gap);
}

struct Quantised {
  Storage q, scale, error;
  explicit Quantised(const StateQuantCase& c)
      : q(states_of(DType::kI8, c)), scale(DType::kF32, {c.states, c.rows}), error(DType::kF32, {c.states}) {}
  StateQuantArgs args(const Storage& x) const { return {.x = x, .q = q, .scale = scale, .error = error}; }
};

// Rows of very different size, some of them zeros, as states have them.
Storage random_states(Random& random, const StateQuantCase& c) {
  Storage x = states_of(DType::kF32, c);
  int64_t i = 0;
  double size = 0;
  x.fill([&] {
    if (i++ % c.length == 0) size = random.integer(0, 9) == 0 ? 0 : std::exp(random.normal(0, 4));
    return size * random.normal();
  });
  return x;
}

// In fp64, from the codes and scales alone: no value is further than half a scale, which is no larger than it has to be, and the
// error is what it is said to be.
TEST(StateQuant, EveryValueIsWithinHalfAScale) {
  Random random(1);
  for (const StateQuantCase& c : kStateQuantCases) {
    const Storage x = random_states(random, c);
    const std::vector<double> values = x.values();
    for (const auto* impl : runnable(state_quant_impls(), Quantised(c).args(x))) {
      const Quantised got(c);
      const StateQuantArgs args = got.args(x);
      ASSERT_TRUE(check_state_quant(args).ok()) << check_state_quant(args).message();
      run_ok(*impl, args);
      const std::vector<double> q = got.q.values(), scales = got.scale.values(), stated = got.error.values();
      std::vector<double> errors(size_t(c.states)), squares(size_t(c.states));
      for (size_t row = 0; row < scales.size(); ++row) {
        double most = 0;
        for (size_t d = 0; d < size_t(c.length); ++d) {
          const size_t i = row * size_t(c.length) + d, state = row / size_t(c.rows);
          const double e = values[i] - q[i] * scales[row];
          ASSERT_LE(std::abs(e), scales[row] / 2 * (1 + 2e-5)) << impl->name << " state " << state << " value " << i;
          most = std::max(most, std::abs(values[i]));
          errors[state] += e * e, squares[state] += values[i] * values[i];
        }
        most = std::max(most, 0x1p-100);
        EXPECT_NEAR(scales[row] * 127, most, most * 1e-7) << impl->name << " row " << row;
      }
      for (size_t n = 0; n < stated.size(); ++n) {
        const double want = squares[n] > 0 ? std::sqrt(errors[n] / squares[n]) : 0;
        EXPECT_NEAR(stated[n], want, 1e-5 * want) << impl->name << " state " << n;
      }
      EXPECT_TRUE(got.q.margins_intact() && got.scale.margins_intact() && got.error.margins_intact()) << impl->name;
    }
  }
}

TEST(StateQuant, AllFormsGiveTheSameBits) {
  Random random(2);
  for (const StateQuantCase& c : kStateQuantCases) {
    const Storage x = random_states(random, c);
    const Quantised want(c);
    run_ok(impl_named(state_quant_impls(), "reference"), want.args(x));
    for (const auto* impl : runnable(state_quant_impls(), want.args(x)))
      for (const int threads : {1, 2}) {
        const Quantised got(c);
        run_ok(*impl, got.args(x), threads);
        expect_same_bits(got.q, want.q, impl->name), expect_same_bits(got.scale, want.scale, impl->name);
        for (size_t n = 0; n < size_t(c.states); ++n)
          EXPECT_NEAR(got.error.values()[n], want.error.values()[n], 1e-5 * want.error.values()[n]) << impl->name;
      }
  }
}

// One row each of zeros, of what is below the least scale, denormal, largest, infinite and no number, in states of their own.
TEST(StateQuant, SpecialValues) {
  constexpr float kInf = INFINITY, kLargest = 3.4028235e38f, kLeast = 0x1p-100f;
  const std::vector<std::vector<float>> rows{{0, -0.0f}, {kLeast / 2, 0}, {1e-39f, -1e-39f}, {kLargest, -1},
                                             {kInf, 1},  {1, -kInf},      {NAN, 1},          {1, 2, NAN}};
  const StateQuantCase c{int64_t(rows.size()), 1, 16, 0};
  Storage x = states_of(DType::kF32, c);
  size_t i = 0;
  x.fill([&] {
    const auto& row = rows[i / 16];
    return row[i++ % 16 % row.size()];
  });
  for (const auto* impl : runnable(state_quant_impls(), Quantised(c).args(x))) {
    const Quantised got(c);
    run_ok(*impl, got.args(x));
    const std::vector<double> q = got.q.values(), scale = got.scale.values(), error = got.error.values();
    const auto code = [&](size_t row, size_t at) { return q[row * 16 + at]; };
    for (const size_t small : {0, 1, 2}) EXPECT_EQ(scale[small], double(kLeast / 127)) << impl->name;
    EXPECT_EQ(error[0], 0) << impl->name;
    EXPECT_EQ(code(0, 0), 0) << impl->name;
    EXPECT_EQ(code(1, 0), 64) << impl->name << ": 63.5, to the even one";
    EXPECT_EQ(code(2, 0), 0) << impl->name;
    EXPECT_EQ(code(3, 0), 127) << impl->name;
    EXPECT_EQ(code(3, 1), 0) << impl->name;
    EXPECT_TRUE(std::isfinite(scale[3]) && std::isfinite(error[3])) << impl->name;
    for (size_t bad = 4; bad < rows.size(); ++bad) {
      EXPECT_TRUE(std::isnan(scale[bad]) && std::isnan(error[bad])) << impl->name << " row " << bad;
      for (size_t d = 0; d < 16; ++d) EXPECT_EQ(code(bad, d), 0) << impl->name << " row " << bad;
    }
  }
}

TEST(StateQuant, RoundsToNearestEven) {
  Storage x(DType::kF32, {1, 1, 16});
  const float v[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -126.5f, 0.49999f, 3.9f, -3.9f, -127, 0, 1, 63.5f};
  const double want[] = {127, 0, 2, 2, 0, -2, -2, 126, -126, 0, 4, -4, -127, 0, 1, 64};
  int i = 0;
  x.fill([&] { return v[i++]; });
  for (const auto* impl : runnable(state_quant_impls(), Quantised({1, 1, 16, 0}).args(x))) {
    const Quantised got({1, 1, 16, 0});
    run_ok(*impl, got.args(x));
    EXPECT_EQ(got.q.values(), std::vector<double>(std::begin(want), std::end(want))) << impl->name;
  }
}

TEST(StateQuant, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 3, 32}), odd(DType::kF32, {2, 3, 24}), q(DType::kI8, {2, 3, 32}), s(DType::kF32, {2, 3}),
      e(DType::kF32, {2});
  const auto message = [](const StateQuantArgs& args) { return check_state_quant(args).message(); };
  EXPECT_EQ(message({}), "state_quant: x is missing");
  EXPECT_EQ(message({.x = s}), "state_quant: x has rank 2, wanted 3");
  EXPECT_EQ(message({.x = q}), "state_quant: x is I8, wanted F32");
  EXPECT_EQ(message({.x = odd}), "state_quant: rows must have a multiple of 16 values");
  EXPECT_EQ(message({.x = x, .q = x}), "state_quant: q is F32, wanted I8");
  EXPECT_EQ(message({.x = x, .q = q, .scale = e}), "state_quant: scale has shape [2], wanted [2, 3]");
  EXPECT_EQ(message({.x = x, .q = q, .scale = s}), "state_quant: error is missing");
  EXPECT_EQ(message({.x = x, .q = q, .scale = s, .error = e}), "");
}

}  // namespace
}  // namespace sluice
