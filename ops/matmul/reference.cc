#include "core/rows.h"
#include "ops/matmul/forms.h"

namespace sluice {

Status matmul_reference(Context&, const MatmulArgs& a, std::byte*) {
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.w, [&]<class W>(W*) {
      visit_float(a.y, [&]<class Y>(Y*) {
        for (int64_t m = 0; m < a.x.shape[0]; ++m)
          for (int64_t n = 0; n < a.w.shape[0]; ++n) {
            const X* x = a.x.as<X>() + m * a.x.stride[0];
            const W* w = a.w.as<W>() + n * a.w.stride[0];
            double sum = 0;
            for (int64_t k = 0; k < a.x.shape[1]; ++k) sum += double(float(x[k])) * float(w[k]);
            a.y.as<Y>()[m * a.y.stride[0] + n] = Y(float(sum));
          }
      });
    });
  });
  return {};
}

}  // namespace sluice
