// What the tests of the products by few tokens share: the contract's bound, which is relative to the sum of the terms' sizes.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/op_testing.h"

namespace sluice::testing {

inline Storage with_sizes_only(const Storage& from) {
  const Tensor& t = from.tensor();
  Storage to(t.dtype, {t.shape[0], t.shape[1]});
  const std::vector<double> values = from.values();
  size_t i = 0;
  to.fill([&] { return std::abs(values[i++]); });
  return to;
}

// `want` and `sizes`, the sums of |terms|, are fp32 results of the reference.
inline void expect_within(const Storage& got, const Storage& want, const Storage& sizes, const std::string& what) {
  const double rounding = got.tensor().dtype == DType::kBF16 ? 0x1p-8 : 0x1p-23;
  const std::vector<double> g = got.values(), w = want.values(), s = sizes.values();
  int wrong = 0;
  for (size_t i = 0; i < w.size(); ++i)
    if (!(std::abs(g[i] - w[i]) <= 1e-5 * s[i] + rounding * std::abs(w[i])) && ++wrong == 1)
      ADD_FAILURE() << what << ": element " << i << " is " << g[i] << ", wanted " << w[i] << " within 1e-5 of " << s[i];
  EXPECT_EQ(wrong, 0) << what;
  EXPECT_TRUE(got.margins_intact()) << what << ": wrote outside its output";
}

}  // namespace sluice::testing
