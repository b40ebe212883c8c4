#include <numbers>

#include "ops/rope/cases.h"
#include "ops/rope/rope.h"
#include "ops/rope/sincos.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Inputs {
  Storage q, k, positions;
  std::vector<double> frequencies;

  // mrope: three rows of positions.
  Inputs(Random& random, const RopeCase& c, DType dtype, bool mrope, int64_t max_position)
      : q(random.normal(dtype, {c.tokens, c.q_heads, c.dim}, 1, c.row_stride)),
        k(random.normal(dtype, {c.tokens, c.k_heads, c.dim})),
        positions(DType::kI32, mrope ? std::vector<int64_t>{3, c.tokens} : std::vector<int64_t>{c.tokens}),
        frequencies(rope_frequencies(1e7, int(c.rotary_dim))) {
    positions.fill([&] { return random.integer(0, max_position); });
  }
  RopeArgs args(const Storage& q_out, const Storage& k_out, RopeStyle style) const {
    RopeArgs a{.q = q, .k = k, .positions = positions, .q_out = q_out, .k_out = k_out, .style = style};
    const int pairs = int(frequencies.size());
    a.inv_freq = Tensor::of(frequencies.data(), {pairs});
    a.mrope_section = {pairs - 2 * (pairs / 3), pairs / 3, pairs / 3};
    a.cos_sin_factor = 1.25f;
    return a;
  }
};

void compare(Random& random, const RopeCase& c, DType in, DType out, RopeStyle style, bool mrope) {
  const Inputs s(random, c, in, mrope, 1000);
  Storage want_q(out, {c.tokens, c.q_heads, c.dim}), want_k(out, {c.tokens, c.k_heads, c.dim});
  RopeArgs args = s.args(want_q, want_k, style);
  ASSERT_TRUE(check_rope(args).ok()) << check_rope(args).message();
  run_ok(impl_named(rope_impls(), "reference"), args);
  for (const auto* impl : runnable(rope_impls(), args)) {
    Storage q(out, {c.tokens, c.q_heads, c.dim}), k(out, {c.tokens, c.k_heads, c.dim});
    args.q_out = q, args.k_out = k;
    run_ok(*impl, args);
    // Tighter than the contract, which leaves room for fp32 angles: here they are exact.
    const Tolerance limit = out == DType::kF32 ? Tolerance{5e-7, 2e-6} : Tolerance{4e-3, 8e-3};
    expect_close(q, want_q, limit, std::string(impl->name) + " q, dim " + std::to_string(c.dim));
    expect_close(k, want_k, limit, std::string(impl->name) + " k, dim " + std::to_string(c.dim));
  }
}

TEST(Rope, MatchesReference) {
  Random random(1);
  for (const DType in : {DType::kF32, DType::kBF16})
    for (const DType out : {DType::kF32, DType::kBF16})
      for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved})
        for (const bool mrope : {false, true})
          for (const RopeCase& c : kRopeCases) compare(random, c, in, out, style, mrope);
}

TEST(Rope, FarPositionsKeepTheirAngles) {
  Random random(2);
  const RopeCase c{50, 1, 1, 64, 64, 0};
  const Inputs s(random, c, DType::kF32, false, 2'000'000'000);
  Storage want_q(DType::kF32, {50, 1, 64}), want_k(DType::kF32, {50, 1, 64});
  run_ok(impl_named(rope_impls(), "reference"), s.args(want_q, want_k, RopeStyle::kHalfSplit));
  for (const auto* impl : runnable(rope_impls(), RopeArgs{})) {
    Storage q(DType::kF32, {50, 1, 64}), k(DType::kF32, {50, 1, 64});
    run_ok(*impl, s.args(q, k, RopeStyle::kHalfSplit));
    expect_close(q, want_q, {2e-6, 1e-5}, impl->name);
    expect_close(k, want_k, {2e-6, 1e-5}, impl->name);
  }
}

TEST(Rope, SineAndCosine) {
  Random random(3);
  for (int i = 0; i < 20000; ++i) {
    const double span = i < 10000 ? 10 : 1e6, x = random.uniform(-span, span);
    Double8 s, c;
    sincos(Double8{} + x, s, c);
    ASSERT_NEAR(s[0], std::sin(x), 2e-11) << x;
    ASSERT_NEAR(c[7], std::cos(x), 2e-11) << x;
  }
  for (int n = -9; n <= 9; ++n) {  // the borders between quadrants
    Double8 s, c;
    const double x = n * std::numbers::pi / 4;
    sincos(Double8{} + x, s, c);
    EXPECT_NEAR(s[3], std::sin(x), 2e-11) << n;
    EXPECT_NEAR(c[3], std::cos(x), 2e-11) << n;
  }
}

// By hand: one pair, a quarter turn; the third dim is not rotated.
TEST(Rope, QuarterTurn) {
  const double quarter[] = {std::numbers::pi / 2};
  Storage x(DType::kF32, {1, 1, 3}), y(DType::kF32, {1, 1, 3});
  double next = 1;
  x.fill([&] { return next++; });
  for (const auto* impl : runnable(rope_impls(), RopeArgs{}))
    for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved}) {
      const Storage position = ints({1});
      run_ok(*impl, RopeArgs{.k = x, .positions = position, .inv_freq = Tensor::of(quarter, {1}), .k_out = y, .style = style});
      EXPECT_NEAR(y.values()[0], -2, 1e-6) << impl->name;
      EXPECT_NEAR(y.values()[1], 1, 1e-6) << impl->name;
      EXPECT_EQ(y.values()[2], 3) << impl->name;
    }
}

// The axes of 6 pairs with sections (2, 2, 2): t h w t h w; with (4, 1, 1): t h w t t t.
TEST(Rope, MropeAxes) {
  const std::vector<double> half_turns(6, std::numbers::pi);  // a position of 1 flips the sign of a pair
  const Tensor inv_freq = Tensor::of(half_turns.data(), {6});
  Storage x(DType::kF32, {1, 1, 12}), y(DType::kF32, {1, 1, 12}), positions(DType::kI32, {3, 1});
  x.fill([] { return 1.0; });
  const auto flipped = [&](const Impl<RopeArgs>& impl, std::array<int, 3> section, int axis) {
    int at = 0;
    positions.fill([&] { return at++ == axis; });
    run_ok(impl, RopeArgs{.q = x, .positions = positions, .inv_freq = inv_freq, .q_out = y, .mrope_section = section});
    std::string signs;
    for (int i = 0; i < 6; ++i) signs += y.values()[i] < 0 ? '-' : '+';
    return signs;
  };
  for (const auto* impl : runnable(rope_impls(), RopeArgs{})) {
    EXPECT_EQ(flipped(*impl, {2, 2, 2}, 0), "-++-++") << impl->name;
    EXPECT_EQ(flipped(*impl, {2, 2, 2}, 1), "+-++-+") << impl->name;
    EXPECT_EQ(flipped(*impl, {2, 2, 2}, 2), "++-++-") << impl->name;
    EXPECT_EQ(flipped(*impl, {4, 1, 1}, 0), "-++---") << impl->name;
    EXPECT_EQ(flipped(*impl, {4, 1, 1}, 1), "+-++++") << impl->name;
  }
}

TEST(Rope, SameBitsAloneInABatchAndInPlace) {
  Random random(4);
  const RopeCase c{67, 4, 2, 80, 40, 0};
  const Inputs s(random, c, DType::kF32, false, 100000);
  for (const RopeStyle style : {RopeStyle::kHalfSplit, RopeStyle::kInterleaved})
    for (const auto* impl : runnable(rope_impls(), RopeArgs{})) {
      Storage q(DType::kF32, {67, 4, 80}), k(DType::kF32, {67, 2, 80}), q1(DType::kF32, {67, 4, 80}), k1(DType::kF32, {67, 2, 80});
      run_ok(*impl, s.args(q, k, style));
      run_ok(*impl, s.args(q1, k1, style), 1);
      expect_same_bits(q, q1, impl->name);
      expect_same_bits(k, k1, impl->name);
      Storage q2(DType::kF32, {67, 4, 80}), k2(DType::kF32, {67, 2, 80});
      const std::vector<double> values = s.k.values();
      size_t i = 0;
      k2.fill([&] { return values[i++]; });
      for (int64_t t = 0; t < 67; ++t) {
        RopeArgs args = s.args(q2, k2, style);
        args.k = k2;
        for (Tensor* x : {&args.q, &args.k, &args.q_out, &args.k_out, &args.positions}) *x = x->slice(0, t, t + 1);
        run_ok(*impl, args);
      }
      expect_same_bits(q, q2, impl->name);
      expect_same_bits(k, k2, impl->name);
    }
}

TEST(Rope, Frequencies) {
  const std::vector<double> plain = rope_frequencies(10000, 4);
  EXPECT_EQ(plain.size(), 2u);
  EXPECT_DOUBLE_EQ(plain[0], 1);
  EXPECT_DOUBLE_EQ(plain[1], 0.01);
  // DeepSeek-V3's yarn: fast pairs as they are, slow pairs stretched by 40, a ramp between pairs 10 and 23.
  const RopeScaling yarn{.factor = 40, .original_max_position = 4096, .mscale_all_dim = 1};
  const std::vector<double> base = rope_frequencies(10000, 64), f = rope_frequencies(10000, 64, yarn);
  for (int i : {0, 5, 10}) EXPECT_DOUBLE_EQ(f[i], base[i]) << i;
  for (int i : {23, 24, 31}) EXPECT_DOUBLE_EQ(f[i], base[i] / 40) << i;
  EXPECT_DOUBLE_EQ(f[11], base[11] * (1.0 / 13 / 40 + 12.0 / 13));
  EXPECT_DOUBLE_EQ(rope_cos_sin_factor(yarn), 1);
  EXPECT_NEAR(rope_softmax_factor(yarn), 1.8738542070926265, 1e-12);
  EXPECT_DOUBLE_EQ(rope_softmax_factor({}), 1);
}

TEST(Rope, RefusesBadArguments) {
  const Storage x(DType::kF32, {2, 1, 8}), y(DType::kF32, {2, 1, 6}), one(DType::kI32, {2}), three(DType::kI32, {3, 2});
  const Storage f(DType::kF64, {4}), long_f(DType::kF64, {5}), f32(DType::kF32, {4});
  EXPECT_EQ(check_rope({.positions = one, .inv_freq = f}).message(), "rope: q and k are both missing");
  EXPECT_EQ(check_rope({.q = x, .positions = one, .inv_freq = f}).message(), "rope: q_out is missing");
  EXPECT_EQ(check_rope({.q = x, .positions = one, .inv_freq = f, .q_out = y}).message(),
            "rope: q_out has shape [2, 1, 6], wanted [2, 1, 8]");
  EXPECT_EQ(check_rope({.q = x, .positions = one, .inv_freq = f32, .q_out = x}).message(), "rope: inv_freq is F32, wanted F64");
  EXPECT_EQ(check_rope({.q = x, .positions = one, .inv_freq = long_f, .q_out = x}).message(),
            "rope: inv_freq has more entries than half of the head dimension");
  EXPECT_EQ(check_rope({.q = x, .positions = three, .inv_freq = f, .q_out = x, .mrope_section = {1, 1, 1}}).message(),
            "rope: mrope_section must be three counts of pairs that add up to the length of inv_freq");
}

}  // namespace
}  // namespace sluice
