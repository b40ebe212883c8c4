#include <cmath>

#include "core/rows.h"
#include "ops/silu_mul/forms.h"

namespace sluice {

Status silu_mul_reference(Context&, const SiluMulArgs& a, std::byte*) {
  const Rows gate(a.gate), up(a.up), y(a.y);
  visit_float(a.gate, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      for (int64_t r = 0; r < y.count(); ++r)
        for (int64_t d = 0; d < y.length(); ++d) {
          const double g = float(gate.row<X>(r)[d]);
          y.row<Y>(r)[d] = Y(float(g / (1 + std::exp(-g)) * float(up.row<X>(r)[d])));
        }
    });
  });
  return {};
}

}  // namespace sluice
