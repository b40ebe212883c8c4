// How far a product of matrices may be from the reference.
#pragma once

#include "tests/support/op_testing.h"

namespace sluice::testing {

// The contract's limits are relative to a typical output, sqrt(K) for the unit operands used here. A lone output may have cancelled
// to much less, and its error has not: there, the limit relative to the output itself grows accordingly.
inline Tolerance product_limit(const Storage& want, int64_t k) {
  if (want.tensor().dtype == DType::kBF16) return {4e-3, 8e-3};
  double squares = 0;
  for (const double v : want.values()) squares += v * v;
  const double rms = std::sqrt(squares / std::max<double>(1, double(want.tensor().numel())));
  const double depth = std::sqrt(double(k) / 1024 + 1), cancelled = rms > 0 ? std::max(1.0, std::sqrt(double(k)) / rms) : 1;
  return {2e-6 * depth * cancelled, 2e-5 * depth * cancelled};
}

}  // namespace sluice::testing
