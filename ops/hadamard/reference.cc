#include <bit>
#include <cmath>

#include "core/rows.h"
#include "ops/hadamard/forms.h"

namespace sluice {
namespace {

// By the definition; x and y are apart.
template <class X>
double transformed(const X* x, int64_t n, int64_t i) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += std::popcount(uint64_t(i & j)) % 2 ? -double(float(x[j])) : double(float(x[j]));
  return sum / std::sqrt(double(n));
}

}  // namespace

Status hadamard_reference(Context&, const HadamardArgs& a, std::byte*) {
  const Rows x(a.x), y(a.y);
  std::vector<float> row(size_t(x.length()));
  visit_float(a.x, [&]<class X>(X*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      for (int64_t r = 0; r < x.count(); ++r) {
        for (int64_t d = 0; d < x.length(); ++d) row[size_t(d)] = float(x.row<X>(r)[d]);
        for (int64_t d = 0; d < x.length(); ++d) y.row<Y>(r)[d] = Y(float(transformed(row.data(), x.length(), d)));
      }
    });
  });
  return {};
}

}  // namespace sluice
