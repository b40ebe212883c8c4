#include "ops/hadamard/reference.h"

#include "core/rows.h"
#include "ops/hadamard/forms.h"

namespace sluice {

Status hadamard_reference(Context&, const HadamardArgs& a, std::byte*) {
  const Rows x(a.x), y(a.y);
  std::vector<double> row(size_t(x.length()));
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      for (int64_t r = 0; r < x.count(); ++r) {
        for (size_t d = 0; d < row.size(); ++d) row[d] = float(x.row<X>(r)[d]);
        hadamard_in_fp64(row);
        for (size_t d = 0; d < row.size(); ++d) y.row<Y>(r)[d] = Y(float(row[d]));
      }
    });
  });
  return {};
}

}  // namespace sluice
