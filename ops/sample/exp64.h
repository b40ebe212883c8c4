// e^x of eight fp64 values, for weights that must order and add up as exact ones do. Plain multiplications and additions, so the
// bits are the same for every instruction set.
#pragma once

#include <cstdint>

#include "core/simd.h"

namespace sluice {

using Double8 = double __attribute__((vector_size(64)));
using Int8 = int64_t __attribute__((vector_size(64)));

SLUICE_INLINE Double8 widen8(const float* p) {
  float v __attribute__((vector_size(32)));
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Double8);
}

// x <= 0, relative error below 1e-15; 0 below -708, where fp64 leaves its normal range.
SLUICE_INLINE Double8 exp64(Double8 x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding and subtracting it rounds to the nearest integer
  // ln 2 as its first 33 bits, which n < 2^20 multiplies without rounding, and the rest.
  constexpr double kLog2e = 1.44269504088896340736, kLn2 = 6.93147180369123816490e-01, kLn2Rest = 1.90821492927058770002e-10;
  const Int8 gone = x < -708.0;
  const Double8 y = gone ? Double8{} : x;
  const Double8 n = (y * kLog2e + kRound) - kRound;
  const Double8 r = (y - n * kLn2) - n * kLn2Rest;
  // Taylor polynomial for |r| <= ln(2) / 2: the first term left out is r^14 / 14! < 5e-18.
  Double8 p = Double8{} + 1.0 / 6227020800;
#pragma GCC unroll 16
  for (const double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                         1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0})
    p = p * r + c;
  const Int8 power = (__builtin_convertvector(n, Int8) + 1023) << 52;
  Double8 scale;
  std::memcpy(&scale, &power, sizeof scale);
  return gone ? Double8{} : p * scale;
}

}  // namespace sluice
