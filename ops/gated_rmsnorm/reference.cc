#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/gated_rmsnorm/forms.h"

namespace sluice {
namespace {

double gate_of(double z, Gate gate) { return (gate == Gate::kSilu ? z : 1) / (1 + std::exp(-z)); }

}  // namespace

Status gated_rmsnorm_reference(Context&, const GatedRmsnormArgs& a, std::byte*) {
  const Rows x(a.x), z(a.z), y(a.y);
  const size_t n = size_t(x.length());
  std::vector<double> s(n), gate(n);
  for (int64_t r = 0; r < x.count(); ++r) {
    visit_float(a.z, [&]<class Z>(Z*) {
      for (size_t d = 0; d < n; ++d) gate[d] = gate_of(float(z.row<Z>(r)[d]), a.gate);
    });
    visit_float(a.x, [&]<class X>(X*) {
      for (size_t d = 0; d < n; ++d) s[d] = float(x.row<X>(r)[d]) * (a.norm_before_gate ? 1 : gate[d]);
    });
    double sum = 0;
    for (const double v : s) sum += v * v;
    const double root = std::sqrt(sum / double(n) + a.eps);
    visit_float(a.weight, [&]<class W>(W*) {
      visit_float(a.y, [&]<class Y>(Y*) {
        for (size_t d = 0; d < n; ++d)
          y.row<Y>(r)[d] = Y(float(s[d] / root * float(a.weight.as<W>()[d]) * (a.norm_before_gate ? gate[d] : 1)));
      });
    });
  }
  return {};
}

}  // namespace sluice
