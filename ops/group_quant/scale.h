// A group's scale as the forms compute it, on the CPU and in kernels.
#pragma once

#include <bit>
#include <cstdint>

#include "core/simd_plain.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr float kMostE4M3 = 448, kMostInt8 = 127;
inline constexpr int kGroupsOfWord = 4;  // exponents in a packed word

// The power of two at or next above a positive normal number below 2^127; infinity and NaN stay.
SLUICE_INLINE constexpr float power_of_two_from(float x) {
  constexpr uint32_t kInfinity = 0x7f800000u, kMantissa = 0x7fffffu;
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return bits >= kInfinity ? x : std::bit_cast<float>((bits + kMantissa) & kInfinity);
}

// A power of two as a byte of ue8m0; 255 for infinity and NaN.
SLUICE_INLINE constexpr uint32_t ue8m0_of(float scale) { return std::bit_cast<uint32_t>(scale) >> 23 & 0xff; }

}  // namespace sluice
