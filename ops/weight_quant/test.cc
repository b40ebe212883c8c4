#include "ops/weight_quant/weight_quant.h"
#include "tests/support/op_testing.h"

namespace sluice {
namespace {

using namespace sluice::testing;

struct Quantised {
  Storage codes, scale;
  // group 0: one scale a row. Odd: strides that leave gaps.
  Quantised(DType type, DType scale_type, int64_t n, int64_t k, int64_t group, bool odd = false)
      : codes(type, {n, type == DType::kI8 ? k : k / 8}, odd ? k + 3 : 0),
        scale(scale_type, {n, group ? k / group : 1}, odd ? k : 0) {}
  WeightQuantArgs args(const Storage& w) const { return {.w = w, .codes = codes, .scale = scale}; }

  double weight(int64_t n, int64_t k) const {
    const int64_t groups = scale.tensor().shape[1];
    return code_at(codes, n, k) * scale.values()[size_t(n * groups + k / (quantised_depth(codes) / groups))];
  }
};

// The sum of squared errors of all weights.
double squared_error(const Storage& w, const Quantised& q) {
  const auto values = w.values(), scales = q.scale.values();
  const int64_t k = quantised_depth(q.codes), groups = q.scale.tensor().shape[1];
  double sum = 0;
  for (int64_t i = 0; i < int64_t(values.size()); ++i) {
    const double off = values[size_t(i)] - code_at(q.codes, i / k, i % k) * scales[size_t(i / k * groups + i % k / (k / groups))];
    sum += off * off;
  }
  return sum;
}

TEST(WeightQuant, IsAsNearAsTheReference) {
  Random random(1);
  for (const DType from : {DType::kF32, DType::kBF16})
    for (const DType type : {DType::kI8, DType::kI32})
      for (const DType scale : {DType::kF32, DType::kBF16, DType::kF16})
        for (const auto& [n, k, group] : {std::tuple{1, 32, 0}, {3, 96, 32}, {5, 384, 128}, {19, 320, 64}, {33, 1024, 0}}) {
          const Storage w = random.normal(from, {n, k}, 0.02, k + 5);
          const Quantised want(type, scale, n, k, group);
          ASSERT_TRUE(check_weight_quant(want.args(w)).ok());
          run_ok(impl_named(weight_quant_impls(), "reference"), want.args(w));
          for (const auto* impl : runnable(weight_quant_impls(), want.args(w))) {
            const Quantised got(type, scale, n, k, group, true);
            run_ok(*impl, got.args(w));
            EXPECT_LE(squared_error(w, got), squared_error(w, want) * (1 + 1e-4)) << impl->name << " " << n << " x " << k;
            EXPECT_TRUE(got.codes.margins_intact() && got.scale.margins_intact()) << impl->name;
          }
        }
}

TEST(WeightQuant, FormsAndThreadsGiveTheSameBits) {
  Random random(2);
  const Storage w = random.normal(DType::kBF16, {37, 384});
  for (const DType type : {DType::kI8, DType::kI32}) {
    const Quantised one(type, DType::kBF16, 37, 384, 128);
    run_ok(impl_named(weight_quant_impls(), "cpu"), one.args(w), 1);
    for (const auto* impl : runnable(weight_quant_impls(), one.args(w))) {
      if (std::string(impl->name) == "reference") continue;
      const Quantised two(type, DType::kBF16, 37, 384, 128);
      run_ok(*impl, two.args(w), 2);
      expect_same_bits(one.codes, two.codes, impl->name);
      expect_same_bits(one.scale, two.scale, impl->name);
    }
  }
}

// The rule of Q4_0: the scale gives the largest weight the code -8, whatever that means for the others.
TEST(WeightQuant, Int4IsNearerThanByTheLargestWeight) {
  Random random(3);
  const Storage w = random.normal(DType::kBF16, {64, 1024});
  const auto values = w.values();
  double simple = 0;
  for (size_t g = 0; g < values.size(); g += 32) {
    double largest = 0;
    for (size_t i = g; i < g + 32; ++i)
      if (std::abs(values[i]) > std::abs(largest)) largest = values[i];
    const double scale = float(F16(float(largest / -8)));
    for (size_t i = g; i < g + 32; ++i) {
      const double off = values[i] - scale * std::clamp(std::nearbyint(values[i] / scale), -8.0, 7.0);
      simple += off * off;
    }
  }
  for (const auto* impl : runnable(weight_quant_impls(), WeightQuantArgs{})) {
    const Quantised q(DType::kI32, DType::kBF16, 64, 1024, 32);
    run_ok(*impl, q.args(w));
    EXPECT_LT(squared_error(w, q), 0.92 * simple) << impl->name;
  }
}

TEST(WeightQuant, OddGroups) {
  for (const DType type : {DType::kI8, DType::kI32}) {
    Storage w(DType::kF32, {1, 5 * 32});
    int64_t i = 0;
    w.fill([&]() -> double {
      const int64_t group = i / 32, k = i++ % 32;
      if (group == 0) return 0;
      if (group == 1) return k == 3 ? NAN : 1;
      if (group == 2) return k == 31 ? -INFINITY : 1;
      if (group == 3) return 1e-40;
      return k == 0 ? 1e6 : 1;  // its scale is beyond what a half holds
    });
    for (const auto* impl : runnable(weight_quant_impls(), WeightQuantArgs{})) {
      const Quantised q(type, DType::kF16, 1, 5 * 32, 32);
      run_ok(*impl, q.args(w));
      for (int64_t k = 0; k < 5 * 32; ++k) {
        const int64_t group = k / 32;
        const std::string what = std::string(impl->name) + " " + std::to_string(k);
        if (group != 4) {
          EXPECT_EQ(code_at(q.codes, 0, k), 0) << what;
        }
        if (group == 0 || group == 3) {
          EXPECT_EQ(q.weight(0, k), 0) << what;
        } else if (group != 4 || type == DType::kI32) {
          EXPECT_TRUE(std::isnan(q.weight(0, k))) << what;
        }
      }
    }
  }
}

TEST(WeightQuant, RefusesBadArguments) {
  const Storage w(DType::kF32, {2, 64}), scale(DType::kBF16, {2, 2}), codes(DType::kI8, {2, 64}), words(DType::kI32, {2, 8}),
      short_codes(DType::kI8, {2, 40}), three(DType::kBF16, {2, 3});
  EXPECT_TRUE(check_weight_quant({.w = w, .codes = codes, .scale = scale}).ok());
  EXPECT_TRUE(check_weight_quant({.w = w, .codes = words, .scale = scale}).ok());
  EXPECT_EQ(check_weight_quant({.w = w, .codes = short_codes, .scale = scale}).message(),
            "weight_quant: codes has 40 weights a row, wanted a multiple of 32");
  EXPECT_EQ(check_weight_quant({.w = w, .codes = codes, .scale = three}).message(),
            "weight_quant: scale has shape [2, 3], wanted [2, 1] or [2, 64 / G] with G a multiple of 32");
}

}  // namespace
}  // namespace sluice
