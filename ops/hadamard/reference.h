// The transform in fp64, for this operator's reference and for those of operators that turn rows on the way.
#pragma once

#include <cmath>
#include <vector>

namespace sluice {

// Sylvester's doubling: H of 2 m is [[H, H], [H, -H]] of m.
inline void hadamard_in_fp64(std::vector<double>& row) {
  for (size_t m = 1; m < row.size(); m *= 2)
    for (size_t i = 0; i < row.size(); ++i)
      if (!(i & m)) {
        const double a = row[i], b = row[i + m];
        row[i] = a + b, row[i + m] = a - b;
      }
  for (double& x : row) x /= std::sqrt(double(row.size()));
}

}  // namespace sluice
