// e^x of eight fp64 values, for weights that must order and add up as exact ones do.
#pragma once

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "core/simd.h"

namespace sluice {

using Double8 = double __attribute__((vector_size(64)));
using Int8 = int64_t __attribute__((vector_size(64)));

SLUICE_INLINE Double8 widen8(const float* p) {
  float v __attribute__((vector_size(32)));
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Double8);
}

// a * b + c, in one step where the instruction set that the file is compiled for has it.
SLUICE_INLINE Double8 multiply_add(Double8 a, Double8 b, Double8 c) {
#ifdef __AVX512F__
  return Double8(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#else
  return a * b + c;
#endif
}

// x <= 0, relative error below 1e-15; 0 below -708, where fp64 leaves its normal range.
SLUICE_INLINE Double8 exp64(Double8 x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding and subtracting it rounds to the nearest integer
  // ln 2 as its first 33 bits, which n < 2^20 multiplies without rounding, and the rest.
  constexpr double kLog2e = 1.44269504088896340736, kLn2 = 6.93147180369123816490e-01, kLn2Rest = 1.90821492927058770002e-10;
  const Int8 gone = x < -708.0;
  const Double8 y = gone ? Double8{} : x;
  const Double8 all = Double8{} + 1.0, shifted = multiply_add(y, all * kLog2e, all * kRound), n = shifted - kRound;
  const Double8 r = multiply_add(n, all * -kLn2Rest, multiply_add(n, all * -kLn2, y));
  // Taylor polynomial for |r| <= ln(2) / 2: the first term left out is r^14 / 14! < 5e-18.
  Double8 p = Double8{} + 1.0 / 6227020800;
#pragma GCC unroll 16
  for (const double c : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
                         1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0})
    p = multiply_add(p, r, all * c);
  Int8 power;  // 2^n: n stands in the lowest bits of `shifted`, whose other ones are shifted out
  std::memcpy(&power, &shifted, sizeof power);
  power = (power + 1023) << 52;
  Double8 scale;
  std::memcpy(&scale, &power, sizeof scale);
  return gone ? Double8{} : p * scale;
}

}  // namespace sluice
