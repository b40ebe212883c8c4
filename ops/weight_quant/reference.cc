#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/weight_quant/candidates.h"
#include "ops/weight_quant/forms.h"

namespace sluice {
namespace {

struct Choice {
  float scale = NAN;
  double error = INFINITY;
  std::vector<int> codes;
};

template <class S>
Choice with_scale(const std::vector<float>& w, double scale, const CodeRange& range) {
  Choice c{.scale = float(S(float(scale))), .error = 0, .codes = {}};
  if (std::abs(c.scale) < kLeastScale) c.scale = 0;
  const float by = c.scale == 0 || !std::isfinite(c.scale) ? 0 : 1 / c.scale;
  for (const float x : w) {
    c.codes.push_back(int(std::clamp(std::nearbyint(x * by), range.least, range.most)));
    const double off = x - double(c.codes.back()) * c.scale;
    c.error += off * off;
  }
  return c;
}

double least_squares(const std::vector<float>& w, const std::vector<int>& codes) {
  double wq = 0, qq = 0;
  for (size_t i = 0; i < w.size(); ++i) wq += double(w[i]) * codes[i], qq += double(codes[i]) * codes[i];
  return wq / qq;
}

template <class S>
Choice best(const std::vector<float>& w, const CodeRange& range) {
  Choice kept{.codes = std::vector<int>(w.size(), 0)};
  float most = 0;
  for (const float x : w) {
    if (!std::isfinite(x)) return kept;
    most = std::max(most, std::abs(x));
  }
  const auto consider = [&](Choice c) {
    if (c.error < kept.error) kept = std::move(c);
  };
  for (const float sign : {1.0f, -1.0f})
    for (const float largest : range.largest) {
      if (sign < 0 && !range.both_signs) continue;
      const Choice first = with_scale<S>(w, sign * most / largest, range);
      consider(first);
      consider(with_scale<S>(w, least_squares(w, first.codes), range));
    }
  return kept;
}

void store(const Tensor& codes, int64_t n, int64_t k, int code) {
  if (codes.dtype == DType::kI8) {
    codes.as<int8_t>()[n * codes.stride[0] + k] = int8_t(code);
    return;
  }
  auto& byte = static_cast<uint8_t*>(codes.data)[n * codes.stride[0] * 4 + k / 2];
  const int stored = code + kInt4Offset;
  byte = uint8_t(k % 2 ? byte | stored << 4 : stored);
}

}  // namespace

Status weight_quant_reference(Context&, const WeightQuantArgs& a, std::byte*) {
  const int64_t group = scale_group(a.codes, a.scale);
  const CodeRange range = code_range(code_type(a.codes));
  visit_float(a.w, [&]<class W>(W*) {
    visit_scale(a.scale, [&]<class S>(S*) {
      for (int64_t n = 0; n < a.w.shape[0]; ++n)
        for (int64_t j = 0; j < a.scale.shape[1]; ++j) {
          const W* row = a.w.as<W>() + n * a.w.stride[0] + j * group;
          const Choice c = best<S>(std::vector<float>(row, row + group), range);
          a.scale.as<S>()[n * a.scale.stride[0] + j] = S(c.scale);
          for (int64_t i = 0; i < group; ++i) store(a.codes, n, j * group + i, c.codes[i]);
        }
    });
  });
  return {};
}

}  // namespace sluice
