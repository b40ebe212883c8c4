#include <cmath>

#include "ops/state_quant/forms.h"
#include "ops/state_quant/scale.h"

namespace sluice {
namespace {

float largest_of_row(const float* x, int64_t n) {
  float most = 0;
  for (int64_t d = 0; d < n; ++d) {
    if (!std::isfinite(x[d])) return NAN;
    most = std::max(most, std::abs(x[d]));
  }
  return most;
}

}  // namespace

Status state_quant_reference(Context&, const StateQuantArgs& a, std::byte*) {
  const int64_t N = a.x.dim(0), R = a.x.dim(1), D = a.x.dim(2);
  for (int64_t n = 0; n < N; ++n) {
    double errors = 0, squares = 0;
    for (int64_t r = 0; r < R; ++r) {
      const float* x = a.x[n][r].as<float>();
      int8_t* q = a.q[n][r].as<int8_t>();
      const float scale = scale_of_row(largest_of_row(x, D));
      a.scale[n].as<float>()[r] = scale;
      for (int64_t d = 0; d < D; ++d) {
        q[d] = std::isnan(scale) ? int8_t(0) : int8_t(std::nearbyint(x[d] / scale));
        const double e = double(x[d]) - double(scale) * q[d];
        errors += e * e, squares += double(x[d]) * x[d];
      }
    }
    a.error.as<float>()[n] = squares == 0 ? 0 : float(std::sqrt(errors / squares));
  }
  return {};
}

}  // namespace sluice
