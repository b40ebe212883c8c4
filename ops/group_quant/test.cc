#include <cmath>

#include "ops/group_quant/test_problem.h"
#include "ops/silu_mul/silu_mul.h"

namespace sluice {
namespace {

using namespace sluice::testing;

constexpr DType kCodeTypes[] = {DType::kF8E4M3, DType::kI8}, kInputTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

std::vector<int64_t> shape_of(const GroupQuantCase& c, bool silu_mul = false) {
  const int64_t width = c.groups * c.group * (silu_mul ? 2 : 1);
  return c.experts ? std::vector<int64_t>{c.experts, c.tokens, width} : std::vector<int64_t>{c.tokens, width};
}

// Rows of very different size. A gap is between tokens, of rank 3 between experts.
Storage random_rows(Random& random, DType dtype, const GroupQuantCase& c, bool silu_mul, int64_t offset = 0) {
  const std::vector<int64_t> shape = shape_of(c, silu_mul);
  Storage x(dtype, shape, c.gap ? shape.back() * (c.experts ? c.tokens : 1) + c.gap : 0, offset);
  int64_t i = 0;
  double size = 1;
  x.fill([&] {
    if (i++ % std::max<int64_t>(c.group, 1) == 0) size = std::exp(random.normal(0, 2));
    return random.normal(0, silu_mul ? 3 : size);
  });
  return x;
}

std::string name_of(const GroupQuantCase& c, DType in, DType out, ScaleLayout layout, bool ue8m0) {
  return std::to_string(c.experts) + "x" + std::to_string(c.tokens) + "x" + std::to_string(c.groups) + "x" +
         std::to_string(c.group) + " " + std::string(dtype_name(in)) + " to " + std::string(dtype_name(out)) + " layout " +
         std::to_string(int(layout)) + (ue8m0 ? " ue8m0" : "");
}

// Every implementation that runs here against the reference. `exact`: the same bits.
template <class Fresh>
void expect_as_reference(GroupQuantArgs args, Fresh&& fresh, bool exact, const std::string& what) {
  const Quantised want = fresh();
  args.out = want;
  ASSERT_TRUE(check_group_quant(args).ok()) << check_group_quant(args).message();
  run_ok(impl_named(group_quant_impls(), "reference"), args);
  for (const auto* impl : runnable(group_quant_impls(), args)) {
    const Quantised got = fresh();
    args.out = got;
    run_ok(*impl, args);
    (exact ? expect_same_groups : expect_near_groups)(got, want, std::string(impl->name) + " " + what);
  }
}

TEST(GroupQuant, MatchesReference) {
  Random random(1);
  for (const GroupQuantCase& c : kGroupQuantCases)
    for (const DType in : kInputTypes) {
      const Storage x = random_rows(random, in, c, false, c.gap % 2);
      for (const DType out : kCodeTypes)
        for (const ScaleLayout layout : kScaleLayouts)
          for (const bool ue8m0 : {false, true}) {
            const QuantisedGroups of{.group = c.group, .ue8m0 = ue8m0};
            expect_as_reference(
                {.x = x}, [&] { return Quantised(out, shape_of(c), layout, of, c.gap); }, true, name_of(c, in, out, layout, ue8m0));
          }
    }
}

// As many as give a GPU's threads several rows each.
TEST(GroupQuant, ManyRowsMatchReference) {
  constexpr GroupQuantCase kSmall{0, 8501, 5, 16, 0}, kLarge{0, 4323, 5, 128, 0};
  constexpr ScaleLayout kColumn = ScaleLayout::kColumnMajorTma, kPacked = ScaleLayout::kPackedColumnTma;
  struct Many {
    GroupQuantCase shape;
    DType in;
    ScaleLayout layout;
    bool silu_mul;
  };
  Random random(7);
  for (const Many& m : {Many{kSmall, DType::kBF16, kColumn, false}, Many{kSmall, DType::kF32, kPacked, false},
                        Many{kSmall, DType::kF16, kPacked, true}, Many{kLarge, DType::kBF16, kPacked, false}}) {
    const Storage x = random_rows(random, m.in, m.shape, m.silu_mul);
    expect_as_reference(
        {.x = x, .silu_mul = m.silu_mul},
        [&] { return Quantised(DType::kF8E4M3, shape_of(m.shape), m.layout, {.group = m.shape.group}); }, !m.silu_mul,
        name_of(m.shape, m.in, DType::kF8E4M3, m.layout, false));
  }
}

TEST(GroupQuant, SiluMulMatchesReference) {
  Random random(2);
  for (const GroupQuantCase& c : kGroupQuantCases)
    for (const DType in : kInputTypes) {
      const Storage x = random_rows(random, in, c, true, c.gap % 2);
      for (const DType out : kCodeTypes)
        for (const bool ue8m0 : {false, true}) {
          const ScaleLayout layout = ue8m0 ? ScaleLayout::kPackedColumnTma : ScaleLayout::kRowMajor;
          const QuantisedGroups of{.group = c.group, .ue8m0 = ue8m0};
          expect_as_reference(
              {.x = x, .silu_mul = true}, [&] { return Quantised(out, shape_of(c), layout, of, c.gap); }, false,
              name_of(c, in, out, layout, ue8m0));
        }
    }
}

// Rows at and behind masked_m keep their bytes, of codes and of scales.
TEST(GroupQuant, MaskedRowsAreUntouched) {
  Random random(3);
  for (const bool silu_mul : {false, true})
    for (const ScaleLayout layout : kScaleLayouts)
      for (const int64_t experts : {1, 5, 40, 70}) {  // 40 and 70: more than a warp looks at together
        const GroupQuantCase c{experts, 6, 5, 128, 0};
        const Storage x = random_rows(random, DType::kBF16, c, silu_mul);
        std::vector<int64_t> counts;
        for (int64_t e = 0; e < experts; ++e)
          counts.push_back(std::vector<int64_t>{0, 6, 1, 5, 9, -1}[size_t(random.integer(0, 5))]);
        const Storage masked_m = ints(counts);
        const auto fresh = [&] { return Quantised(DType::kF8E4M3, shape_of(c), layout, {}); };
        expect_as_reference({.x = x, .masked_m = masked_m, .silu_mul = silu_mul}, fresh, !silu_mul, "masked");
        const Quantised whole = fresh();
        run_ok(impl_named(group_quant_impls(), "reference"), GroupQuantArgs{.x = x, .out = whole, .silu_mul = silu_mul});
        for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x, .masked_m = masked_m, .out = whole})) {
          const Quantised got = fresh();
          run_ok(*impl, GroupQuantArgs{.x = x, .masked_m = masked_m, .out = got, .silu_mul = silu_mul});
          for (int64_t e = 0; e < experts; ++e)
            for (int64_t t = 0; t < c.tokens; ++t) {
              const bool counts_in = t < counts[size_t(e)];
              const uint8_t* codes = got.q.tensor().as<uint8_t>() + (e * c.tokens + t) * 640;
              const auto poisoned = std::count(codes, codes + 640, uint8_t(0xff));
              EXPECT_EQ(poisoned, counts_in ? 0 : 640) << impl->name << " expert " << e << " row " << t;
              EXPECT_EQ(std::isnan(got.scale_at(e, t, 4)), !counts_in) << impl->name << " expert " << e << " row " << t;
            }
        }
      }
}

// What the spec's users rely on: q * scale is within half a step of v, so the scale is the one that was divided by.
TEST(GroupQuant, CodesTimesScalesAreTheRow) {
  Random random(4);
  const GroupQuantCase c{0, 33, 12, 128, 0};
  const Storage x = random_rows(random, DType::kF32, c, false);
  const std::vector<double> values = x.values();
  for (const DType out : kCodeTypes)
    for (const ScaleLayout layout : kScaleLayouts)
      for (const bool ue8m0 : {false, true})
        for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x})) {
          const Quantised got(out, shape_of(c), layout, {.ue8m0 = ue8m0});
          run_ok(*impl, GroupQuantArgs{.x = x, .out = got});
          const std::vector<double> q = got.q.values(), scales = got.scales();
          for (size_t i = 0; i < q.size(); ++i) {
            const double scale = scales[i / 128], v = values[i] / scale;
            const double step = out == DType::kI8 ? 1 : std::ldexp(1.0, std::max(std::ilogb(std::max(std::abs(v), 1e-9)), -6) - 3);
            ASSERT_LE(std::abs(q[i] - v), step / 2 * (1 + 1e-5)) << impl->name << " element " << i;
            if (ue8m0) {
              ASSERT_EQ(std::ldexp(1.0, std::ilogb(scale)), scale) << impl->name;
            }
          }
        }
}

// Four exponents to a word, the first in the lowest byte, zeros behind the last group; nothing between the last token and a
// column's end.
TEST(GroupQuant, PackedWords) {
  for (const int group : {16, 32, 64, 128})
    for (const int64_t groups : {1, 3, 4, 6, 33}) {
      constexpr int64_t kTokens = 5, kColumn = 8;
      Storage x(DType::kF32, {kTokens, groups * group});
      int64_t i = 0;
      x.fill([&] { return std::ldexp(448.0, int(i++ / group) % 50 - 25); });  // group g of all: scale 2^(g % 50 - 25)
      for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x})) {
        const Quantised got(DType::kF8E4M3, {kTokens, groups * group}, ScaleLayout::kPackedColumnTma, {.group = group});
        run_ok(*impl, GroupQuantArgs{.x = x, .out = got});
        const auto* words = got.scale_memory.tensor().as<uint32_t>();
        ASSERT_EQ(got.scale_memory.tensor().numel(), (groups + 3) / 4 * kColumn);
        for (int64_t w = 0; w < (groups + 3) / 4; ++w)
          for (int64_t t = 0; t < kColumn; ++t) {
            uint32_t want = 0;
            for (int64_t g = 4 * w; g < std::min(groups, 4 * w + 4); ++g)
              want |= uint32_t((t * groups + g) % 50 - 25 + 127) << (g - 4 * w) * 8;
            EXPECT_EQ(words[w * kColumn + t], t < kTokens ? want : 0xffffffffu) << impl->name << " word " << w << " token " << t;
          }
      }
    }
}

// One group each of zeros, of what is below eps, at a power of two's edge, with an infinity, with a NaN, of denormals, of the
// largest.
TEST(GroupQuant, SpecialValues) {
  constexpr float kDenormal = 1e-39f, kLargest = 3.4028235e38f;
  const float edge = 448 * 0.25f, above = std::nextafter(edge, 1e9f);
  const std::vector<std::vector<float>> groups = {{0, -0.0f}, {1e-12f, -1e-11f},       {edge, 1},      {above, 1}, {INFINITY, 1},
                                                  {NAN, 1},   {kDenormal, -kDenormal}, {kLargest, -1}, {1, 2}};
  const int64_t n = int64_t(groups.size());
  Storage x(DType::kF32, {1, n * 16});
  size_t i = 0;
  x.fill([&] {
    const auto& g = groups[i / 16];
    return g[i++ % 16 % g.size()];
  });
  for (const DType out : kCodeTypes)
    for (const bool ue8m0 : {false, true}) {
      const float most = out == DType::kI8 ? 127.0f : 448.0f;
      const auto fresh = [&] { return Quantised(out, {1, n * 16}, ScaleLayout::kRowMajor, {.group = 16, .ue8m0 = ue8m0}); };
      expect_as_reference({.x = x}, fresh, true, "special values");
      for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x})) {
        const Quantised got = fresh();
        run_ok(*impl, GroupQuantArgs{.x = x, .out = got});
        const std::vector<double> s = got.scales(), q = got.q.values();
        const auto code = [&](int64_t group, int64_t at) { return q[size_t(group * 16 + at)]; };
        if (!ue8m0) {
          EXPECT_EQ(s[0], double(1e-10f / most)) << impl->name;
          EXPECT_EQ(s[2], double(edge / most)) << impl->name;
        } else if (out == DType::kF8E4M3) {
          EXPECT_EQ(s[2], 0.25) << impl->name;
          EXPECT_EQ(s[3], 0.5) << impl->name;
        }
        EXPECT_EQ(s[1], s[0]) << impl->name;
        EXPECT_EQ(s[6], s[0]) << impl->name;
        EXPECT_EQ(code(0, 0), 0) << impl->name;
        EXPECT_EQ(code(6, 0), 0) << impl->name;
        EXPECT_EQ(s[4], INFINITY) << impl->name;
        EXPECT_EQ(code(4, 1), 0) << impl->name;
        EXPECT_TRUE(std::isnan(s[5])) << impl->name;
        const double of_nan = out == DType::kI8 ? 0 : NAN;
        EXPECT_TRUE(same(code(4, 0), of_nan) && same(code(5, 0), of_nan) && same(code(5, 1), of_nan)) << impl->name;
        if (!ue8m0) {
          EXPECT_EQ(code(7, 0), most) << impl->name;
        }
        EXPECT_TRUE(std::isfinite(s[7])) << impl->name;
      }
    }
}

// In the middle between two whole numbers to the even one, also below 0.
TEST(GroupQuant, Int8RoundsToNearestEven) {
  Storage x(DType::kF32, {1, 16}), exact(DType::kF32, {1, 16});
  const float v[] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, -126.5f, 0.49999f, 3.9f, -3.9f, -127, 0, 1, 63.5f};
  const double want[] = {127, 0, 2, 2, 0, -2, -2, 126, -126, 0, 4, -4, -127, 0, 1, 64};
  int i = 0;
  x.fill([&] { return v[i++]; });
  for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x})) {
    const Quantised got(DType::kI8, {1, 16}, ScaleLayout::kRowMajor, {.group = 16});
    run_ok(*impl, GroupQuantArgs{.x = x, .out = got});
    EXPECT_EQ(got.q.values(), std::vector<double>(std::begin(want), std::end(want))) << impl->name;
  }
}

TEST(GroupQuant, SameBitsAloneInABatchAndOnAnyThreads) {
  Random random(5);
  const GroupQuantCase c{0, 300, 7, 64, 0};
  for (const bool silu_mul : {false, true}) {
    const Storage x = random_rows(random, DType::kBF16, c, silu_mul);
    const auto fresh = [&] { return Quantised(DType::kF8E4M3, shape_of(c), ScaleLayout::kColumnMajorTma, {.group = 64}); };
    for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x})) {
      const Quantised whole = fresh(), one_thread = fresh(), rows = fresh();
      run_ok(*impl, GroupQuantArgs{.x = x, .out = whole, .silu_mul = silu_mul});
      run_ok(*impl, GroupQuantArgs{.x = x, .out = one_thread, .silu_mul = silu_mul}, 1);
      for (int64_t r = 0; r < c.tokens; r += 7)
        for (int64_t t = r; t < std::min(r + 7, c.tokens); t += 1 + t % 3) {
          QuantisedGroups out = rows;
          const int64_t end = std::min({t + 1 + t % 3, r + 7, c.tokens});
          out.q = out.q.slice(0, t, end), out.scale = out.scale.slice(0, t, end);
          run_ok(*impl, GroupQuantArgs{.x = x.tensor().slice(0, t, end), .out = out, .silu_mul = silu_mul});
        }
      expect_same_groups(one_thread, whole, impl->name);
      expect_same_groups(rows, whole, impl->name);
    }
  }
}

// The fused form gives the bits of silu_mul and a quantisation of its result.
TEST(GroupQuant, SiluMulIsTwoSteps) {
  Random random(6);
  const GroupQuantCase c{0, 40, 9, 128, 0};
  const Storage x = random_rows(random, DType::kBF16, c, true), product(DType::kBF16, shape_of(c));
  const int64_t H = c.groups * c.group;
  const Tensor gate = x.tensor().slice(1, 0, H), up = x.tensor().slice(1, H, 2 * H);
  for (const auto* impl : runnable(group_quant_impls(), GroupQuantArgs{.x = x, .silu_mul = true})) {
    const Quantised fused(DType::kI8, shape_of(c), ScaleLayout::kColumnMajor, {}),
        two(DType::kI8, shape_of(c), ScaleLayout::kColumnMajor, {});
    run_ok(*impl, GroupQuantArgs{.x = x, .out = fused, .silu_mul = true});
    run_ok(impl_named(silu_mul_impls(), impl->name), SiluMulArgs{.gate = gate, .up = up, .y = product});
    run_ok(*impl, GroupQuantArgs{.x = product, .out = two});
    expect_same_groups(fused, two, impl->name);
  }
}

TEST(GroupQuant, RefusesBadArguments) {
  const Storage x(DType::kBF16, {2, 256}), odd(DType::kBF16, {2, 257}), q(DType::kF8E4M3, {2, 256}), s(DType::kF32, {2, 2}),
      word(DType::kI32, {2, 1}), experts(DType::kBF16, {3, 2, 256}), q3(DType::kF8E4M3, {3, 2, 256}), s3(DType::kF32, {3, 2, 2}),
      counts = ints({1, 2});
  const auto message = [](const GroupQuantArgs& args) { return check_group_quant(args).message(); };
  EXPECT_EQ(message({}), "group_quant: x is missing");
  EXPECT_EQ(message({.x = counts}), "group_quant: x has rank 1, wanted 2 to 3");
  EXPECT_EQ(message({.x = q}), "group_quant: x is F8_E4M3, wanted F32 or F16 or BF16");
  EXPECT_EQ(message({.x = odd, .silu_mul = true}), "group_quant: silu_mul wants rows of a gate and as many elements behind it");
  EXPECT_EQ(message({.x = x, .out = {.group = 48}}), "group_quant: a group must have 16, 32, 64 or 128 elements");
  EXPECT_EQ(message({.x = odd}), "group_quant: a row must be a whole number of groups");
  EXPECT_EQ(message({.x = x, .out = {.eps = 0}}),
            "group_quant: eps must be at least 1e-20, so that a scale and its reciprocal are normal numbers");
  EXPECT_EQ(message({.x = x}), "group_quant: q is missing");
  EXPECT_EQ(message({.x = x, .out = {.q = q}}), "group_quant: scale is missing");
  EXPECT_EQ(message({.x = x, .out = {.q = x, .scale = s}}), "group_quant: q is BF16, wanted F8_E4M3 or I8");
  EXPECT_EQ(message({.x = x, .out = {.q = q, .scale = word}}), "group_quant: scales of I32 hold exponents, which only ue8m0 gives");
  EXPECT_EQ(message({.x = x, .out = {.q = q, .scale = s, .group = 64}}), "group_quant: scale has shape [2, 2], wanted [2, 4]");
  EXPECT_EQ(message({.x = x, .out = {.q = q, .scale = s, .ue8m0 = true}}), "");
  EXPECT_EQ(message({.x = x, .out = {.q = q, .scale = s}, .silu_mul = true}), "group_quant: q has shape [2, 256], wanted [2, 128]");
  EXPECT_EQ(message({.x = x, .masked_m = counts, .out = {.q = q, .scale = s}}),
            "group_quant: masked_m needs x of rank 3, experts first");
  EXPECT_EQ(message({.x = experts, .masked_m = counts, .out = {.q = q3, .scale = s3}}),
            "group_quant: masked_m has shape [2], wanted [3]");
}

}  // namespace
}  // namespace sluice
