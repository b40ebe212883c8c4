#include "ops/group_quant/reference.h"

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
  const Rows x(a.x);
  std::vector<float> s(x.length());
  for (int64_t r = 0; r < x.count(); ++r) {
    sum_row(a, r, s);
    double sum = 0;
    for (const float v : s) sum += double(v) * v;
    const double root = std::sqrt(sum / double(s.size()) + a.eps);
    std::vector<double> normed(s.size());
    visit_float(a.weight, [&]<class W>(W*) {
      for (size_t d = 0; d < s.size(); ++d) {
        const double unit = a.round_normed ? float(Bf16(float(s[d] / root))) : s[d] / root;
        normed[d] = unit * (double(a.weight_offset) + float(a.weight.as<W>()[d]));
      }
    });
    visit_float(rounding_of_quantised(a), [&]<class Y>(Y*) {
      for (size_t d = 0; d < s.size(); ++d) {
        const Y rounded{float(normed[d])};
        if (a.y.present()) Rows(a.y).row<Y>(r)[d] = rounded;
        normed[d] = float(rounded);
      }
    });
    if (a.quantised.q.present())
      quantise_row_by_definition(normed, a.quantised, row_of_tensor(a.quantised.q, r), row_of_tensor(a.quantised.scale, r));
  }
  return {};
}

}  // namespace sluice
