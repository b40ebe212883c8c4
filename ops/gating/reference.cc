#include <algorithm>
#include <cmath>

#include "core/rows.h"
#include "ops/gating/forms.h"

namespace sluice {
namespace {

double element(const Tensor& t, int64_t r, int64_t d) {
  const int64_t at = t.rank == 2 ? r * t.stride[0] + d : d;
  return visit_float(t, [&]<class X>(X*) -> double { return float(t.as<X>()[at]); });
}

}  // namespace

Status gating_reference(Context&, const GatingArgs& a, std::byte*) {
  for (int64_t t = 0; t < a.a.shape[0]; ++t)
    for (int64_t h = 0; h < a.a.shape[1]; ++h) {
      const double x = element(a.a, t, h) + element(a.dt_bias, t, h);
      const double softplus = std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
      const double beta = 1 / (1 + std::exp(-element(a.b, t, h)));
      Rows(a.log_g).row<float>(t)[h] = float(-std::exp(element(a.A_log, t, h)) * softplus);
      Rows(a.beta).row<float>(t)[h] = float(a.allow_neg_eigval ? 2 * beta : beta);
    }
  return {};
}

}  // namespace sluice
