#include <cmath>

#include "core/rows.h"
#include "ops/rope/forms.h"

namespace sluice {
namespace {

template <class X, class Y>
void rotate(const RopeArgs& a, const Tensor& x, const Tensor& y) {
  const int64_t H = x.shape[1], pairs = a.inv_freq.shape[0];
  const bool interleaved = a.style == RopeStyle::kInterleaved;
  for (int64_t r = 0; r < Rows(x).count(); ++r) {
    const X* in = Rows(x).row<X>(r);
    Y* out = Rows(y).row<Y>(r);
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = rope_position(a, r / H, i) * a.inv_freq.as<double>()[i];
      const double c = std::cos(angle) * a.cos_sin_factor, s = std::sin(angle) * a.cos_sin_factor;
      const int64_t one = interleaved ? 2 * i : i, two = interleaved ? 2 * i + 1 : i + pairs;
      const double x1 = float(in[one]), x2 = float(in[two]);
      out[one] = Y(float(x1 * c - x2 * s));
      out[two] = Y(float(x2 * c + x1 * s));
    }
    for (int64_t d = 2 * pairs; d < x.shape[2]; ++d) out[d] = Y(float(in[d]));
  }
}

void rotate_any(const RopeArgs& a, const Tensor& x, const Tensor& y) {
  if (!x.present()) return;
  visit_float(x, [&]<class X>(X*) { visit_float(y, [&]<class Y>(Y*) { rotate<X, Y>(a, x, y); }); });
}

}  // namespace

Status rope_reference(Context&, const RopeArgs& a, std::byte*) {
  rotate_any(a, a.q, a.q_out);
  rotate_any(a, a.k, a.k_out);
  return {};
}

}  // namespace sluice
