// Sine and cosine of eight fp64 angles, without the C library. Plain multiplications and additions, so the bits are the same for
// every instruction set.
#pragma once

#include <cstdint>

#include "core/simd.h"

namespace sluice {

using Double8 = double __attribute__((vector_size(64)));
using Int8 = int64_t __attribute__((vector_size(64)));

// Absolute error 1e-11 for |x| up to 2^20, below 2e-6 up to 2^33 where the angle itself has no more digits.
SLUICE_INLINE void sincos(Double8 x, Double8& sine, Double8& cosine) {
  constexpr double kTwoOverPi = 0.63661977236758134308;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding and subtracting it rounds to the nearest integer
  // pi / 2 as its first 33 bits, which n < 2^20 multiplies without rounding, and the rest.
  constexpr double kHalfPi = 1.57079632673412561417, kHalfPiRest = 6.07710050650619224932e-11;
  const Double8 n = (x * kTwoOverPi + kRound) - kRound;
  const Double8 r = (x - n * kHalfPi) - n * kHalfPiRest, r2 = r * r;
  // Taylor polynomials for |r| <= pi / 4: the first terms left out are r^13 / 13! < 7e-12 and r^14 / 14! < 4e-13.
  Double8 s = r2 * (-1.0 / 39916800) + 1.0 / 362880;
  s = s * r2 - 1.0 / 5040;
  s = s * r2 + 1.0 / 120;
  s = s * r2 - 1.0 / 6;
  s = s * r2 * r + r;
  Double8 c = r2 * (1.0 / 479001600) - 1.0 / 3628800;
  c = c * r2 + 1.0 / 40320;
  c = c * r2 - 1.0 / 720;
  c = c * r2 + 1.0 / 24;
  c = c * r2 - 0.5;
  c = c * r2 + 1.0;
  const Int8 quadrant = __builtin_convertvector(n, Int8);
  const Int8 odd = (quadrant & 1) != 0;
  sine = odd ? c : s, cosine = odd ? s : c;
  sine = (quadrant & 2) != 0 ? -sine : sine;
  cosine = ((quadrant + 1) & 2) != 0 ? -cosine : cosine;
}

}  // namespace sluice
