#include <cmath>

#include "ops/merge_state/cases.h"
#include "ops/merge_state/test_problem.h"

namespace sluice {
namespace {

using namespace sluice::testing;

std::string name_of(const MergeStateCase& c) {
  return std::to_string(c.tokens) + "x" + std::to_string(c.heads) + "x" + std::to_string(c.dim);
}

std::vector<int64_t> shape_of(const MergeStateCase& c, int64_t rows) { return {rows, c.heads, c.dim}; }

// 0, 1, 2, 3, 0, ... states a token, after two that belong to none.
std::vector<int64_t> uneven_indptr(int64_t tokens, int64_t most = 3) {
  std::vector<int64_t> indptr{2};
  for (int64_t t = 0; t < tokens; ++t) indptr.push_back(indptr.back() + t % (most + 1));
  return indptr;
}

TEST(MergeState, TwoStatesMatchReference) {
  Random random(1);
  for (const DType in : kPartialTypes)
    for (const DType out : kValueTypes)
      for (const MergeStateCase& c : kMergeStateCases)
        for (const int64_t offset : {0, 1}) {  // elements in front of a's values: an odd address
          const State a = random_state(random, in, shape_of(c, c.tokens), LseBase::kE, c.row_stride, offset);
          const State b = random_state(random, in, shape_of(c, c.tokens), LseBase::kE, c.row_stride);
          expect_as_reference(
              {.a = a, .b = b}, [&] { return State(out, shape_of(c, c.tokens), LseBase::kE, c.row_stride); }, name_of(c));
        }
}

TEST(MergeState, ManyStatesMatchReference) {
  Random random(2);
  for (const DType in : kPartialTypes)
    for (const MergeStateCase& c : kMergeStateCases)
      for (const bool running : {false, true}) {
        const Storage indptr = ints(uneven_indptr(c.tokens));
        const State a = random_state(random, in, shape_of(c, uneven_indptr(c.tokens).back()), LseBase::kE, c.row_stride);
        const State b = random_state(random, in, shape_of(c, c.tokens), LseBase::kE, c.row_stride);
        MergeStateArgs args{.a = a, .indptr = indptr};
        if (running) args.b = b;
        expect_as_reference(
            args, [&] { return State(DType::kF32, shape_of(c, c.tokens)); }, name_of(c));
      }
}

TEST(MergeState, MoreStatesThanLanes) {
  Random random(3);
  for (const int64_t states : {15, 16, 17, 33, 100}) {
    const State a = random_state(random, DType::kBF16, {states, 2, 40});
    const Storage indptr = ints({0, states});
    expect_as_reference(
        {.a = a, .indptr = indptr},
        [] {
          return State(DType::kF32, {1, 2, 40});
        },
        std::to_string(states));
  }
}

TEST(MergeState, BasesMix) {
  Random random(4);
  for (const LseBase of_a : kBases)
    for (const LseBase of_b : kBases)
      for (const LseBase of_out : kBases) {
        const State a = random_state(random, DType::kF32, {5, 3, 24}, of_a),
                    b = random_state(random, DType::kF32, {5, 3, 24}, of_b);
        expect_as_reference(
            {.a = a, .b = b},
            [&] {
              return State(DType::kF32, {5, 3, 24}, of_out);
            },
            "bases");
      }
}

// The formula written once more by hand: weights 1/4 and 3/4.
TEST(MergeState, FormulaInEitherBase) {
  for (const LseBase base : kBases) {
    State a(DType::kF32, {1, 1, 2}, base), b(DType::kF32, {1, 1, 2}, base);
    a.fill_values([] { return 8.0; });
    b.fill_values([] { return -4.0; });
    a.lse.fill([] { return 1.0; });
    b.lse.fill([&] { return 1.0 + std::log(3.0) / natural_log_of(base); });
    for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = a})) {
      State out(DType::kF32, {1, 1, 2}, base);
      run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = out});
      EXPECT_NEAR(values_of(out.v)[1], -1, 1e-5) << impl->name;
      EXPECT_NEAR(out.lse.values()[0], 1.0 + std::log(4.0) / natural_log_of(base), 1e-6) << impl->name;
    }
  }
}

TEST(MergeState, LargeLogarithmsDoNotOverflow) {
  for (const double far : {200.0, 1e4, -1e4, 3e38}) {
    State a(DType::kF32, {1, 1, 8}), b(DType::kF32, {1, 1, 8});
    a.fill_values([] { return 3.0; });
    b.fill_values([] { return 5.0; });
    a.lse.fill([&] { return far; });
    b.lse.fill([&] { return -far; });
    for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = a})) {
      State out(DType::kF32, {1, 1, 8});
      run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = out});
      EXPECT_EQ(values_of(out.v), std::vector<double>(8, far > 0 ? 3.0 : 5.0)) << impl->name;
      EXPECT_EQ(out.lse.values()[0], double(float(std::abs(far)))) << impl->name;
    }
  }
}

// What an empty state holds is not read; one that is not empty comes out as it went in, and none at all is zero.
TEST(MergeState, EmptyStates) {
  Random random(5);
  for (const DType dtype : kValueTypes)
    for (const double nothing : {-INFINITY, INFINITY}) {
      State some = random_state(random, dtype, {3, 2, 19}), empty(dtype, {3, 2, 19});  // values: NaN
      some.fill_values([&] { return random.normal(); });
      some.lse.fill([&] { return random.normal(); });
      empty.lse.fill([&] { return nothing; });
      for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = some, .b = empty, .out = some})) {
        const State left(dtype, {3, 2, 19}), right(dtype, {3, 2, 19}), both(dtype, {3, 2, 19});
        run_ok(*impl, MergeStateArgs{.a = some, .b = empty, .out = left});
        run_ok(*impl, MergeStateArgs{.a = empty, .b = some, .out = right});
        run_ok(*impl, MergeStateArgs{.a = empty, .b = empty, .out = both});
        expect_same_state(left, some, impl->name);
        expect_same_state(right, some, impl->name);
        EXPECT_EQ(values_of(both.v), std::vector<double>(3 * 2 * 19, 0.0)) << impl->name;
        EXPECT_EQ(both.lse.values(), std::vector<double>(3 * 2, -INFINITY)) << impl->name;
      }
    }
}

// Heads are independent of how many there are: head h of any number of heads has the bits that it has alone.
TEST(MergeState, SameBitsForAnyNumberOfHeads) {
  Random random(6);
  constexpr int64_t kMost = 1024;
  const State a = random_state(random, DType::kBF16, {2, kMost, 128}), b = random_state(random, DType::kBF16, {2, kMost, 128});
  const auto first_heads = [](const State& s, int64_t heads) {
    return AttentionState{s.v.tensor().slice(1, 0, heads), s.lse.tensor().slice(1, 0, heads), s.base};
  };
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = a})) {
    const State all(DType::kF32, {2, kMost, 128});
    run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = all});
    for (const int64_t heads : {1, 16, 32, 33, 64, 65, 128, 129}) {
      const State few(DType::kF32, {2, kMost, 128});
      run_ok(*impl, MergeStateArgs{.a = first_heads(a, heads), .b = first_heads(b, heads), .out = first_heads(few, heads)}, 1);
      const AttentionState got = first_heads(few, heads), want = first_heads(all, heads);
      EXPECT_EQ(values_of(got.v), values_of(want.v)) << impl->name << " " << heads;
    }
  }
}

TEST(MergeState, SameBitsOnAnyThreadsAndAsManyStates) {
  Random random(7);
  const State a = random_state(random, DType::kF32, {300, 3, 50}), b = random_state(random, DType::kF32, {300, 3, 50});
  State joined(DType::kF32, {600, 3, 50});  // a's row t, then b's
  std::vector<int64_t> indptr{0};
  const auto interleave = [](const std::vector<double>& x, const std::vector<double>& y, size_t row, auto&& put) {
    size_t i = 0;
    put([&] {
      const size_t t = i / (2 * row), at = i % (2 * row);
      ++i;
      return at < row ? x[t * row + at] : y[t * row + at - row];
    });
  };
  interleave(values_of(a.v), values_of(b.v), 150, [&](auto next) { joined.fill_values(next); });
  interleave(a.lse.values(), b.lse.values(), 3, [&](auto next) { joined.lse.fill(next); });
  for (int64_t t = 1; t <= 300; ++t) indptr.push_back(2 * t);
  const Storage starts = ints(indptr);
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = a})) {
    const State two(DType::kF32, {300, 3, 50}), many(DType::kF32, {300, 3, 50}), one_thread(DType::kF32, {300, 3, 50});
    run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = two});
    run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = one_thread}, 1);
    run_ok(*impl, MergeStateArgs{.a = joined, .indptr = starts, .out = many});
    expect_same_state(two, one_thread, impl->name);
    expect_same_state(two, many, impl->name);
  }
}

// Three states a token in one pass, or one after another.
TEST(MergeState, ManyAtOnceAreTwoRepeated) {
  Random random(8);
  const State a = random_state(random, DType::kF32, {12, 5, 72});
  const Storage indptr = ints({0, 3, 6, 9, 12});
  const auto every_third = [&](int64_t first) {  // rows first, first + 3, ...
    AttentionState s = a;
    s.v = s.v.slice(0, first, first + 10), s.lse = s.lse.slice(0, first, first + 10);
    s.v.shape[0] = s.lse.shape[0] = 4, s.v.stride[0] *= 3, s.lse.stride[0] *= 3;
    return s;
  };
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .indptr = indptr, .out = every_third(0)})) {
    const State at_once(DType::kF32, {4, 5, 72}), running(DType::kF32, {4, 5, 72});
    run_ok(*impl, MergeStateArgs{.a = a, .indptr = indptr, .out = at_once});
    run_ok(*impl, MergeStateArgs{.a = every_third(0), .b = every_third(1), .out = running});
    run_ok(*impl, MergeStateArgs{.a = running, .b = every_third(2), .out = running});
    expect_close_states(running, at_once, impl->name);
  }
}

TEST(MergeState, OutputMayBeAnInput) {
  Random random(9);
  for (const DType dtype : kValueTypes)
    for (const int64_t dim : {31, 128, 520}) {
      for (const bool over_b : {false, true})
        for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{})) {
          const State a = random_state(random, dtype, {70, 3, dim}), b = random_state(random, dtype, {70, 3, dim});
          const State apart(dtype, {70, 3, dim});
          run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = apart});
          const State& over = over_b ? b : a;
          run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = over});
          expect_same_state(over, apart, impl->name);
        }
    }
}

TEST(MergeState, LseOfTheOutputIsOptionalAndStridesAreFree) {
  Random random(10);
  const State a = random_state(random, DType::kBF16, {6, 4, 32}), b = random_state(random, DType::kBF16, {6, 4, 32});
  Storage by_head(DType::kF32, {4, 6});  // [H, T], as some engines keep it
  const std::vector<double> lse = a.lse.values();
  size_t i = 0;
  by_head.fill([&] {
    const size_t head = i / 6, token = i % 6;
    ++i;
    return lse[token * 4 + head];
  });
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = a})) {
    const State want(DType::kF32, {6, 4, 32}), got(DType::kF32, {6, 4, 32});
    run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = want});
    run_ok(*impl, MergeStateArgs{.a = {a.v, by_head.tensor().swap_last_two()}, .b = b, .out = {.v = got.v}});
    expect_same_bits(got.v, want.v, impl->name);
  }
}

// Every half comes out as it went in: conversions are exact one way and round to nearest even the other.
TEST(MergeState, HalfPrecisionIsExact) {
  constexpr int64_t kHalves = 0x7c00;  // finite ones of one sign
  State half(DType::kF16, {2, 1, kHalves}), between(DType::kF32, {1, 1, kHalves});
  uint16_t bits = 0;
  each_value(half.v, [&]<class T>(T& x) {
    F16 h;
    h.bits = uint16_t(bits % kHalves | (bits < kHalves ? 0 : 0x8000)), ++bits;
    x = T(float(h));
  });
  half.lse.fill([] { return 0.5; });
  between.lse.fill([] { return 0.5; });
  const std::vector<double> values = values_of(half.v);
  std::vector<double> rounded;  // what lies in the middle between neighbours goes to the even one
  for (size_t i = 0; i < size_t(kHalves); ++i) rounded.push_back(i + 1 < kHalves ? values[i + i % 2] : INFINITY);
  size_t i = 0;
  between.fill_values([&] {
    const double next = i + 1 < kHalves ? values[i + 1] : 65536.0;
    return (values[i++] + next) / 2;
  });
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = half, .out = half})) {
    const State same(DType::kF16, {2, 1, kHalves}), nearest(DType::kF16, {1, 1, kHalves});
    run_ok(*impl, MergeStateArgs{.a = half, .out = same});
    run_ok(*impl, MergeStateArgs{.a = between, .out = nearest});
    EXPECT_EQ(values_of(same.v), values) << impl->name;
    EXPECT_EQ(values_of(nearest.v), rounded) << impl->name;
  }
}

// Scales are of what a tensor stands for: stored values times the scale.
TEST(MergeState, ScalesOfValues) {
  Random random(12);
  for (const DType in : kPartialTypes) {
    State a = random_state(random, in, {4, 3, 40}), b = random_state(random, in, {4, 3, 40});
    a.scale = 3, b.scale = 0.25f;
    const auto fresh = [] {
      State out(DType::kBF16, {4, 3, 40});
      out.scale = 0.5f;
      return out;
    };
    expect_as_reference({.a = a, .b = b}, fresh, "scales");
    State unscaled(DType::kF32, {4, 3, 40}), scaled(DType::kF32, {4, 3, 40});
    scaled.scale = 8;
    for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = scaled})) {
      run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = unscaled});
      run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = scaled});
      std::vector<double> want = values_of(unscaled.v);
      for (double& x : want) x /= 8;
      EXPECT_EQ(values_of(scaled.v), want) << impl->name;
    }
  }
}

// All 256 numbers of e4m3, by the format's definition.
TEST(MergeState, EveryFp8) {
  State a(DType::kF8E4M3, {1, 1, 256});
  std::vector<double> want;
  for (int bits = 0; bits < 256; ++bits) {
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double size = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
    const bool nan = (bits & 127) == 127;  // has a test of its own
    a.v.tensor().as<uint8_t>()[bits] = uint8_t(nan ? 0 : bits);
    want.push_back(nan ? 0 : bits < 128 ? size : -size);
  }
  a.lse.fill([] { return 2.0; });
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .out = a})) {
    const State got(DType::kF32, {1, 1, 256});
    run_ok(*impl, MergeStateArgs{.a = a, .out = got});
    EXPECT_EQ(values_of(got.v), want) << impl->name;
  }
}

// To the nearest, in the middle to the even one, and never past the largest.
TEST(MergeState, RoundingToFp8) {
  const auto number = [](int bits) {
    F8E4M3 x;
    x.bits = uint8_t(bits);
    return float(x);
  };
  for (int bits = 0; bits < 0x7e; ++bits) {
    const float low = number(bits), high = number(bits + 1), middle = (low + high) / 2;
    EXPECT_EQ(F8E4M3(low).bits, bits);
    EXPECT_EQ(F8E4M3(-low).bits, bits | 0x80);
    EXPECT_EQ(F8E4M3(middle).bits, bits + bits % 2);
    EXPECT_EQ(F8E4M3(std::nextafter(middle, low)).bits, bits);
    EXPECT_EQ(F8E4M3(std::nextafter(middle, high)).bits, bits + 1);
  }
  for (const float large : {448.0f, 449.0f, 1e30f, INFINITY}) EXPECT_EQ(float(F8E4M3(large)), 448) << large;
  EXPECT_TRUE(std::isnan(float(F8E4M3(NAN))));
}

TEST(MergeState, NaNIsNotHidden) {
  State a(DType::kF8E4M3, {2, 1, 20}), b(DType::kF8E4M3, {2, 1, 20});  // values: NaN, bytes of 0xff
  b.fill_values([] { return 1.0; });
  a.lse.fill([n = 0]() mutable { return n++ ? NAN : 0.0; });  // NaN values under a weight, then a NaN log-sum-exp
  b.lse.fill([] { return 0.0; });
  for (const auto* impl : runnable(merge_state_impls(), MergeStateArgs{.a = a, .b = b, .out = a})) {
    const State got(DType::kF32, {2, 1, 20});
    got.v.tensor().as<float>()[0] = got.v.tensor().as<float>()[20] = 0;  // the poison is NaN too
    got.lse.tensor().as<float>()[1] = 0;
    run_ok(*impl, MergeStateArgs{.a = a, .b = b, .out = got});
    EXPECT_TRUE(std::isnan(values_of(got.v)[0])) << impl->name;
    EXPECT_TRUE(std::isnan(values_of(got.v)[20])) << impl->name;
    EXPECT_TRUE(std::isnan(got.lse.values()[1])) << impl->name;
  }
}

TEST(MergeState, RefusesBadArguments) {
  const State a(DType::kF32, {2, 3, 8}), short_dim(DType::kF32, {2, 3, 7}), bf16(DType::kBF16, {2, 3, 8}),
      fp8(DType::kF8E4M3, {2, 3, 8});
  const Storage flat(DType::kF32, {2, 8}), ids(DType::kI32, {2, 3, 8}), indptr = ints({0, 2}), none = ints({});
  const auto message = [](const MergeStateArgs& args) { return check_merge_state(args).message(); };
  EXPECT_EQ(message({}), "merge_state: a.v is missing");
  EXPECT_EQ(message({.a = {.v = flat}}), "merge_state: a.v has rank 2, wanted 3");
  EXPECT_EQ(message({.a = {.v = ids}}), "merge_state: a.v is I32, wanted F32 or F16 or BF16 or F8_E4M3");
  EXPECT_EQ(message({.a = {.v = a.v.tensor().swap_last_two()}}), "merge_state: a.v must have stride 1 in its last dimension");
  EXPECT_EQ(message({.a = {.v = a.v}}), "merge_state: a.lse is missing");
  EXPECT_EQ(message({.a = {.v = a.v, .lse = flat}}), "merge_state: a.lse has shape [2, 8], wanted [2, 3]");
  EXPECT_EQ(message({.a = a, .indptr = flat, .out = a}), "merge_state: indptr has rank 2, wanted 1");
  EXPECT_EQ(message({.a = a, .indptr = none, .out = a}),
            "merge_state: indptr is empty, wanted an entry more than there are output tokens");
  EXPECT_EQ(message({.a = a, .indptr = indptr, .b = a, .out = a}), "merge_state: b.v has shape [2, 3, 8], wanted [1, 3, 8]");
  EXPECT_EQ(message({.a = a, .indptr = indptr, .out = a}), "merge_state: out.v has shape [2, 3, 8], wanted [1, 3, 8]");
  EXPECT_EQ(message({.a = a, .b = bf16, .out = a}), "merge_state: b.v is BF16, wanted F32");
  EXPECT_EQ(message({.a = a, .b = short_dim, .out = a}), "merge_state: b.v has shape [2, 3, 7], wanted [2, 3, 8]");
  EXPECT_EQ(message({.a = a, .b = {.v = a.v}, .out = a}), "merge_state: b.lse is missing");
  EXPECT_EQ(message({.a = a, .b = {.lse = a.lse}, .out = a}), "merge_state: b.v is missing");
  EXPECT_EQ(message({.a = a, .out = fp8}), "merge_state: out.v is F8_E4M3, wanted F32 or F16 or BF16");
  EXPECT_EQ(message({.a = a, .out = {.lse = a.lse}}), "merge_state: out.v is missing");
  EXPECT_EQ(message({.a = a, .out = {.v = a.v, .lse = flat}}), "merge_state: out.lse has shape [2, 8], wanted [2, 3]");
}

}  // namespace
}  // namespace sluice
