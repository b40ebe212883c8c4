// e^x of eight fp64 values, for weights that must order and add up as exact ones do.
#pragma once

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#include <bit>
#include <cstdint>
#include <cstring>

#include "core/simd.h"

namespace sluice {

using Double8 = double __attribute__((vector_size(64)));
using Int8 = int64_t __attribute__((vector_size(64)));
using Bits8 = uint64_t __attribute__((vector_size(64)));  // sums of a number's parts may pass its highest bit

SLUICE_INLINE Double8 widen8(const float* p) {
#ifdef __AVX512F__
  return Double8(_mm512_cvtps_pd(_mm256_loadu_ps(p)));
#else
  float v __attribute__((vector_size(32)));
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, Double8);
#endif
}

// a * b + c, in one step where the instruction set that the file is compiled for has it.
SLUICE_INLINE Double8 multiply_add(Double8 a, Double8 b, Double8 c) {
#ifdef __AVX512F__
  return Double8(_mm512_fmadd_pd(__m512d(a), __m512d(b), __m512d(c)));
#else
  return a * b + c;
#endif
}

// table[index mod 16]
SLUICE_INLINE Double8 look_up(const double* table, Bits8 index) {
#ifdef __AVX512F__
  return Double8(_mm512_permutex2var_pd(_mm512_load_pd(table), __m512i(index), _mm512_load_pd(table + 8)));
#else
  Double8 found;
  for (int i = 0; i < 8; ++i) found[i] = table[index[i] & 15];
  return found;
#endif
}

// 2^(i / 16), rounded; its bits less i << 48, so that adding (16 n + i) << 48 gives 2^(n + i / 16).
struct alignas(64) SixteenthPowers {
  double table[16];
};
inline constexpr SixteenthPowers kSixteenthPowers = [] {
  constexpr double kPower[16] = {
      1.0,
      1.04427378242741384032,
      1.09050773266525765921,
      1.13878863475669165370,
      1.18920711500272106672,
      1.24185781207348404859,
      1.29683955465100966593,
      1.35425554693689272830,
      1.41421356237309504880,
      1.47682614593949931139,
      1.54221082540794082361,
      1.61049033194925430818,
      1.68179283050742908606,
      1.75625216037329948311,
      1.83400808640934246349,
      1.91520656139714729387,
  };
  SixteenthPowers p;
  for (uint64_t i = 0; i < 16; ++i) p.table[i] = std::bit_cast<double>(std::bit_cast<uint64_t>(kPower[i]) - (i << 48));
  return p;
}();

// x <= 0, relative error below 1e-15; 0 below -708, where fp64 leaves its normal range, and for NaN. As 2^(n / 16) e^r.
SLUICE_INLINE Double8 exp64(Double8 x) {
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding and subtracting it rounds to the nearest integer
  // ln 2 / 16 as its first 33 bits, which n < 2^20 multiplies without rounding, and the rest.
  constexpr double kSteps = 16 * 1.44269504088896340736, kStep = 6.93147180369123816490e-01 / 16,
                   kStepRest = 1.90821492927058770002e-10 / 16;
  const Double8 all = Double8{} + 1.0, shifted = multiply_add(x, all * kSteps, all * kRound), n = shifted - kRound;
  const Double8 r = multiply_add(n, all * -kStepRest, multiply_add(n, all * -kStep, x));
  // Taylor polynomial for |r| <= ln(2) / 32: the first term left out is r^7 / 7! < 4.5e-16.
  Double8 p = Double8{} + 1.0 / 720;
#pragma GCC unroll 8
  for (const double c : {1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0}) p = multiply_add(p, r, all * c);
  Bits8 bits;  // n stands in the lowest bits of `shifted`, whose other ones are shifted out
  std::memcpy(&bits, &shifted, sizeof bits);
  const Double8 power = look_up(kSixteenthPowers.table, bits);
  Bits8 scale_bits;
  std::memcpy(&scale_bits, &power, sizeof scale_bits);
  scale_bits += bits << 48;
  Double8 scale;
  std::memcpy(&scale, &scale_bits, sizeof scale);
  return x >= -708.0 ? p * scale : Double8{};
}

}  // namespace sluice
