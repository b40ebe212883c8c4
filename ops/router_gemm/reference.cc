#include "core/rows.h"
#include "ops/router_gemm/forms.h"

namespace sluice {

Status router_gemm_reference(Context&, const RouterGemmArgs& a, std::byte*) {
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.w, [&]<class W>(W*) {
      visit_float(a.logits, [&]<class Y>(Y*) {
        for (int64_t t = 0; t < a.x.shape[0]; ++t)
          for (int64_t e = 0; e < a.w.shape[0]; ++e) {
            const X* x = a.x.as<X>() + t * a.x.stride[0];
            const W* w = a.w.as<W>() + e * a.w.stride[0];
            double sum = 0;
            for (int64_t k = 0; k < a.x.shape[1]; ++k) sum += double(float(x[k])) * float(w[k]);
            a.logits.as<Y>()[t * a.logits.stride[0] + e] = Y(float(sum));
          }
      });
    });
  });
  return {};
}

}  // namespace sluice
