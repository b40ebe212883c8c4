#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/quant_matmul/forms.h"

namespace sluice {
namespace {

// What the operator multiplies: a row of x as fp64, quantised as the contract says.
template <class X>
std::vector<double> row_of_x(const QuantMatmulArgs& a, int64_t m) {
  const X* x = a.x.as<X>() + m * a.x.stride[0];
  const int64_t k = a.x.shape[1];
  std::vector<double> row(k);
  if (code_type(a.w) == CodeType::kFp8) {
    for (int64_t i = 0; i < k; ++i) row[i] = float(Bf16(float(x[i])));
    return row;
  }
  for (int64_t g = 0; g < k; g += kQuantGroup) {
    float most = 0;
    bool finite = true;
    for (int64_t i = g; i < g + kQuantGroup; ++i) {
      finite = finite && std::isfinite(float(x[i]));
      most = std::max(most, std::abs(float(x[i])));
    }
    const float scale = most / 127.0f;
    for (int64_t i = g; i < g + kQuantGroup; ++i) {
      const float code = scale == 0 ? 0 : std::clamp(std::nearbyint(float(x[i]) / scale), -127.0f, 127.0f);
      row[i] = finite ? double(code) * scale : NAN;
    }
  }
  return row;
}

template <class S>
std::vector<double> row_of_w(const QuantMatmulArgs& a, int64_t n) {
  const CodeType type = code_type(a.w);
  const int64_t k = a.x.shape[1], group = scale_group(a.w, a.scale);
  const S* scale = a.scale.as<S>() + (type == CodeType::kFp8 ? n / kFp8Block : n) * a.scale.stride[0];
  std::vector<double> row(k);
  for (int64_t i = 0; i < k; ++i) {
    const float code = type == CodeType::kFp8 ? float(a.w.as<F8E4M3>()[n * a.w.stride[0] + i]) : float(code_at(a.w, n, i));
    row[i] = double(code) * float(scale[i / group]);
  }
  return row;
}

}  // namespace

Status quant_matmul_reference(Context&, const QuantMatmulArgs& a, std::byte*) {
  std::vector<std::vector<double>> x;
  visit_float(a.x, [&]<class X>(X*) {
    for (int64_t m = 0; m < a.x.shape[0]; ++m) x.push_back(row_of_x<X>(a, m));
  });
  for (int64_t n = 0; n < a.w.shape[0]; ++n) {
    const std::vector<double> w = visit_scale(a.scale, [&]<class S>(S*) { return row_of_w<S>(a, n); });
    for (int64_t m = 0; m < a.x.shape[0]; ++m) {
      double sum = 0;
      for (size_t k = 0; k < w.size(); ++k) sum += x[m][k] * w[k];
      visit_float(a.y, [&]<class Y>(Y*) { a.y.as<Y>()[m * a.y.stride[0] + n] = Y(float(sum)); });
    }
  }
  return {};
}

}  // namespace sluice
