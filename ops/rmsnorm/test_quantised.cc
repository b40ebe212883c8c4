// The quantised output has the bits of group_quant of the norm's own output.
#include "ops/group_quant/test_problem.h"
#include "ops/rmsnorm/rmsnorm.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Case {
  std::vector<int64_t> shape;
  int group;
  int64_t row_stride;
};
const Case kCases[] = {{{0, 128}, 128, 0},     {{3, 128}, 128, 0},   {{2, 16}, 16, 0},    {{5, 640}, 64, 643},
                       {{4, 1536}, 128, 1544}, {{9, 528}, 16, 0},    {{3, 7168}, 128, 0}, {{2, 4, 192}, 64, 776},
                       {{3, 5, 128}, 32, 641}, {{1, 12288}, 128, 0}, {{2, 16640}, 64, 0}, {{65, 96}, 32, 0}};

std::string name_of(const Case& c, DType x, DType codes, ScaleLayout layout) {
  return std::to_string(c.shape.back()) + " in groups of " + std::to_string(c.group) + " of " + std::string(dtype_name(x)) +
         " to " + std::string(dtype_name(codes)) + " layout " + std::to_string(int(layout));
}

TEST(RmsnormQuantised, IsTwoSteps) {
  Random random(1);
  for (const Case& c : kCases)
    for (const DType in : {DType::kF32, DType::kBF16}) {
      const Storage x = random.normal(in, c.shape, 2.0, c.row_stride), residual = random.normal(DType::kBF16, c.shape);
      const Storage weight = random.normal(DType::kBF16, {c.shape.back()});
      for (const auto* impl : runnable(rmsnorm_impls(), RmsnormArgs{.x = x}))
        for (const ScaleLayout layout : kScaleLayouts) {
          const DType codes = layout == ScaleLayout::kColumnMajor ? DType::kI8 : DType::kF8E4M3;
          const auto fresh = [&] { return Quantised(codes, c.shape, layout, {.group = c.group, .eps = 1e-4f}); };
          const std::string what = std::string(impl->name) + " " + name_of(c, in, codes, layout);
          for (const bool with_y : {false, true}) {
            const DType rounding = with_y && in == DType::kF32 ? DType::kBF16 : in;  // where there is a y, another type than x's
            const Storage y(rounding, c.shape), y_beside(rounding, c.shape), sum(DType::kBF16, c.shape),
                sum_beside(DType::kBF16, c.shape);
            RmsnormArgs args{.x = x, .residual = residual, .weight = weight, .y = y, .residual_out = sum, .weight_offset = 1};
            run_ok(*impl, args);
            const Quantised want = fresh(), got = fresh();
            run_ok(impl_named(group_quant_impls(), impl->name), GroupQuantArgs{.x = y, .out = want});
            args.y = with_y ? y_beside.tensor() : Tensor(), args.residual_out = sum_beside, args.quantised = got;
            ASSERT_TRUE(check_rmsnorm(args).ok()) << check_rmsnorm(args).message();
            run_ok(*impl, args);
            expect_same_groups(got, want, what);
            expect_same_bits(sum_beside, sum, what);
            if (with_y) expect_same_bits(y_beside, y, what);
          }
        }
    }
}

TEST(RmsnormQuantised, OnAnyThreadsAndWithoutASum) {
  Random random(2);
  const Storage x = random.normal(DType::kBF16, {70, 256}), weight = random.normal(DType::kF32, {256});
  for (const auto* impl : runnable(rmsnorm_impls(), RmsnormArgs{.x = x})) {
    const Quantised two(DType::kF8E4M3, {70, 256}, ScaleLayout::kRowMajor, {}),
        one(DType::kF8E4M3, {70, 256}, ScaleLayout::kRowMajor, {});
    run_ok(*impl, RmsnormArgs{.x = x, .weight = weight, .quantised = two});
    run_ok(*impl, RmsnormArgs{.x = x, .weight = weight, .quantised = one}, 1);
    expect_same_groups(one, two, impl->name);
  }
}

TEST(RmsnormQuantised, RefusesBadArguments) {
  const Storage x(DType::kBF16, {2, 256}), w(DType::kBF16, {256}), q(DType::kF8E4M3, {2, 256}), s(DType::kF32, {2, 2});
  const auto message = [](const RmsnormArgs& args) { return check_rmsnorm(args).message(); };
  EXPECT_EQ(message({.x = x, .weight = w}), "rmsnorm: y is missing");
  EXPECT_EQ(message({.x = x, .weight = w, .quantised = {.q = q, .scale = s}}), "");
  EXPECT_EQ(message({.x = x, .weight = w, .quantised = {.q = q}}), "rmsnorm: scale is missing");
  EXPECT_EQ(message({.x = x, .weight = w, .quantised = {.q = q, .scale = s, .group = 64}}),
            "rmsnorm: scale has shape [2, 2], wanted [2, 4]");
  EXPECT_EQ(message({.x = x, .weight = w, .quantised = {.q = q, .scale = s, .group = 100}}),
            "rmsnorm: a group must have 16, 32, 64 or 128 elements");
}

}  // namespace
}  // namespace sluice
