// Quantised rows for the tests: memory of any layout of scales, and what the codes and scales in it are.
#pragma once

#include "ops/group_quant/cases.h"
#include "ops/group_quant/group_quant.h"
#include "tests/support/op_testing.h"

namespace sluice::testing {

inline constexpr ScaleLayout kScaleLayouts[] = {ScaleLayout::kRowMajor, ScaleLayout::kColumnMajor, ScaleLayout::kColumnMajorTma,
                                                ScaleLayout::kPackedColumnTma};

// Memory of QuantisedGroups.
struct Quantised {
  Storage q, scale_memory;
  Tensor scale;
  int group;
  float eps;
  bool ue8m0;

  Quantised(DType dtype, const std::vector<int64_t>& shape, ScaleLayout layout, QuantisedGroups of, int64_t gap = 0)
      : q(dtype, shape, shape.size() == 2 && gap ? shape.back() + gap : 0),
        scale_memory(layout == ScaleLayout::kPackedColumnTma ? DType::kI32 : DType::kF32, {scale_elements(layout, q, of.group)}),
        scale(scale_tensor(scale_memory.tensor().data, layout, q, of.group)),
        group(of.group),
        eps(of.eps),
        ue8m0(of.ue8m0 || layout == ScaleLayout::kPackedColumnTma) {}
  Quantised(Quantised&&) = default;                                           // a copy's tensors would be the original's
  operator QuantisedGroups() const { return {q, scale, group, eps, ue8m0}; }  // NOLINT: passed wherever its tensors are

  bool fp8() const { return q.tensor().dtype == DType::kF8E4M3; }
  // Of every row, in order; packed ones unpacked.
  std::vector<double> scales() const {
    std::vector<double> all;
    const Tensor& t = q;
    const int64_t T = t.shape[t.rank - 2], N = t.shape[t.rank - 1] / group, E = t.rank == 3 ? t.shape[0] : 1;
    for (int64_t e = 0; e < E; ++e)
      for (int64_t r = 0; r < T; ++r)
        for (int64_t g = 0; g < N; ++g) all.push_back(scale_at(e, r, g));
    return all;
  }
  double scale_at(int64_t e, int64_t row, int64_t g) const {
    const int d = scale.rank - 2;
    const int64_t at = (scale.rank == 3 ? e * scale.stride[0] : 0) + row * scale.stride[d];
    if (scale.dtype == DType::kF32) return scale.as<float>()[at + g * scale.stride[d + 1]];
    const auto word = uint32_t(scale.as<int32_t>()[at + g / 4 * scale.stride[d + 1]]);
    const int exponent = int(word >> g % 4 * 8 & 255);
    return exponent == 255 ? NAN : std::ldexp(1.0, exponent - 127);
  }
  // Codes in order of their values.
  std::vector<double> codes() const {
    std::vector<double> v = q.values();
    if (!fp8()) return v;
    for (double& x : v) {
      if (std::isnan(x)) continue;
      const int code = F8E4M3(float(x)).bits;
      x = code & 0x80 ? -(code & 0x7f) : code;
    }
    return v;
  }
};

// NaN is NaN.
inline bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

inline bool same(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](double x, double y) { return same(x, y); });
}

// Exactly: NaN is NaN, and unnamed bytes are as they were.
inline void expect_same_groups(const Quantised& got, const Quantised& want, const std::string& what) {
  EXPECT_TRUE(same(got.codes(), want.codes())) << what << ": codes";
  EXPECT_TRUE(same(got.scales(), want.scales())) << what << ": scales";
  if (got.scale.dtype == DType::kI32) {
    EXPECT_EQ(got.scale_memory.values(), want.scale_memory.values()) << what << ": words";
  }
  EXPECT_TRUE(got.q.margins_intact() && got.scale_memory.margins_intact()) << what << ": wrote outside its output";
}

// Where an input's last place may differ: a few groups with another scale, a few codes one step apart.
inline void expect_near_groups(const Quantised& got, const Quantised& want, const std::string& what) {
  const std::vector<double> got_codes = got.codes(), want_codes = want.codes(), got_scales = got.scales(),
                            want_scales = want.scales();
  size_t other_scales = 0, other_codes = 0;
  for (size_t i = 0; i < want_codes.size(); ++i) {
    const size_t g = i / size_t(want.group);
    const bool scale_agrees = same(got_scales[g], want_scales[g]) || std::abs(got_scales[g] / want_scales[g] - 1) <= 2.4e-7;
    other_scales += !scale_agrees && i % size_t(want.group) == 0;
    if (same(got_codes[i], want_codes[i])) continue;
    ++other_codes;
    if (scale_agrees) {
      ASSERT_LE(std::abs(got_codes[i] - want_codes[i]), 1) << what << " code " << i;
    }
  }
  EXPECT_LE(other_scales, 1 + want_scales.size() / 100) << what;
  EXPECT_LE(other_codes, size_t(want.group) + want_codes.size() / 200) << what;
  EXPECT_TRUE(got.q.margins_intact() && got.scale_memory.margins_intact()) << what << ": wrote outside its output";
}

}  // namespace sluice::testing
