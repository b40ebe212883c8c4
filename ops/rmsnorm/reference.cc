#include <cmath>
#include <vector>

#include "core/rows.h"
#include "ops/rmsnorm/forms.h"

namespace sluice {
namespace {

// s = x + residual of one row, stored to residual_out and, if asked for, rounded as stored.
void sum_row(const RmsnormArgs& a, int64_t r, std::vector<float>& s) {
  visit_float(a.x, [&]<class X>(X*) {
    for (size_t d = 0; d < s.size(); ++d) s[d] = float(Rows(a.x).row<X>(r)[d]);
  });
  if (a.residual.present())
    visit_float(a.residual, [&]<class R>(R*) {
      for (size_t d = 0; d < s.size(); ++d) s[d] += float(Rows(a.residual).row<R>(r)[d]);
    });
  if (a.residual_out.present())
    visit_float(a.residual_out, [&]<class O>(O*) {
      O* out = Rows(a.residual_out).row<O>(r);
      for (size_t d = 0; d < s.size(); ++d) out[d] = O(s[d]);
      if (!a.norm_rounded_sum) return;
      for (size_t d = 0; d < s.size(); ++d) s[d] = float(out[d]);
    });
}

}  // namespace

Status rmsnorm_reference(Context&, const RmsnormArgs& a, std::byte*) {
  const Rows x(a.x), y(a.y);
  std::vector<float> s(x.length());
  for (int64_t r = 0; r < x.count(); ++r) {
    sum_row(a, r, s);
    double sum = 0;
    for (const float v : s) sum += double(v) * v;
    const double root = std::sqrt(sum / double(s.size()) + a.eps);
    visit_float(a.weight, [&]<class W>(W*) {
      visit_float(a.y, [&]<class Y>(Y*) {
        for (size_t d = 0; d < s.size(); ++d)
          y.row<Y>(r)[d] = Y(float(s[d] / root * (double(a.weight_offset) + float(a.weight.as<W>()[d]))));
      });
    });
  }
  return {};
}

}  // namespace sluice
