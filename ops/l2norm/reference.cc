#include <cmath>

#include "core/rows.h"
#include "ops/l2norm/forms.h"

namespace sluice {

Status l2norm_reference(Context&, const L2normArgs& a, std::byte*) {
  const Rows x(a.x), y(a.y);
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      for (int64_t r = 0; r < x.count(); ++r) {
        const X* in = x.row<X>(r);
        Y* out = y.row<Y>(r);
        double sum = 0;
        for (int64_t d = 0; d < x.length(); ++d) sum += double(float(in[d])) * float(in[d]);
        for (int64_t d = 0; d < x.length(); ++d) out[d] = Y(float(float(in[d]) / std::sqrt(sum + a.eps)));
      }
    });
  });
  return {};
}

}  // namespace sluice
