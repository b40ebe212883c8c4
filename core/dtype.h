// Element types. The names are those of safetensors files.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

enum class DType : uint8_t { kF32, kBF16, kF16, kF64, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kBool, kF8E4M3, kF8E5M2 };

constexpr size_t dtype_size(DType t) {
  switch (t) {
    case DType::kF64:
    case DType::kI64:
    case DType::kU64:
      return 8;
    case DType::kF32:
    case DType::kI32:
    case DType::kU32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
    case DType::kI16:
    case DType::kU16:
      return 2;
    default:
      return 1;
  }
}

constexpr std::string_view dtype_name(DType t) {
  switch (t) {
    case DType::kF32:
      return "F32";
    case DType::kBF16:
      return "BF16";
    case DType::kF16:
      return "F16";
    case DType::kF64:
      return "F64";
    case DType::kI8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kI16:
      return "I16";
    case DType::kU16:
      return "U16";
    case DType::kI32:
      return "I32";
    case DType::kU32:
      return "U32";
    case DType::kI64:
      return "I64";
    case DType::kU64:
      return "U64";
    case DType::kBool:
      return "BOOL";
    case DType::kF8E4M3:
      return "F8_E4M3";
    case DType::kF8E5M2:
      return "F8_E5M2";
  }
  return "?";
}

constexpr std::optional<DType> dtype_from_name(std::string_view name) {
  for (int i = 0; i <= int(DType::kF8E5M2); ++i)
    if (dtype_name(DType(i)) == name) return DType(i);
  return std::nullopt;
}

// The upper half of an fp32. Conversion rounds to nearest even; NaN stays NaN.
struct Bf16 {
  uint16_t bits = 0;
  Bf16() = default;
  constexpr explicit Bf16(float f) {
    const uint32_t u = std::bit_cast<uint32_t>(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) bits = uint16_t((u >> 16) | 0x40);
    else bits = uint16_t((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
  }
  constexpr operator float() const { return std::bit_cast<float>(uint32_t(bits) << 16); }  // NOLINT: widening is exact
};
static_assert(sizeof(Bf16) == 2);

// IEEE half precision. Conversion rounds to nearest even, to infinity from 65520 on; NaN stays NaN.
struct F16 {
  uint16_t bits = 0;
  F16() = default;
  constexpr explicit F16(float f) {
    constexpr uint32_t kInfinity = 0x7f800000u, kOverflow = 0x477ff000u, kSmallestNormal = 0x38800000u;  // fp32: 65520, 2^-14
    const uint32_t u = std::bit_cast<uint32_t>(f), sign = u >> 16 & 0x8000u, x = u & 0x7fffffffu;
    if (x > kInfinity) bits = uint16_t(sign | 0x7e00u | (x >> 13 & 0x3ffu));
    else if (x >= kOverflow) bits = uint16_t(sign | 0x7c00u);
    else if (x < kSmallestNormal)  // beside 0.5 an fp32's last place is 2^-24, as that of a half's denormals
      bits = uint16_t(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(x) + 0.5f) - std::bit_cast<uint32_t>(0.5f)));
    else bits = uint16_t(sign | ((x + 0xfffu + (x >> 13 & 1) - (112u << 23)) >> 13));
  }
  constexpr operator float() const {  // NOLINT: widening is exact
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, x = uint32_t(bits & 0x7fffu) << 13;
    if (x >= 31u << 23) return std::bit_cast<float>(sign | 0x7f800000u | x);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(x) * 0x1p112f));  // denormals become normal
  }
};
static_assert(sizeof(F16) == 2);

// Four bits of exponent, three of mantissa, no infinities (e4m3fn). Conversion rounds to nearest even and stops at 448; NaN stays
// NaN.
struct F8E4M3 {
  uint8_t bits = 0;
  F8E4M3() = default;
  constexpr explicit F8E4M3(float f) {
    constexpr uint32_t kInfinity = 0x7f800000u, kMost = 0x43e00000u, kSmallestNormal = 0x3c800000u;  // fp32: 448, 2^-6
    const uint32_t u = std::bit_cast<uint32_t>(f), sign = u >> 24 & 0x80u, x = u & 0x7fffffffu;
    if (x > kInfinity) bits = uint8_t(sign | 0x7fu);
    else if (x >= kMost) bits = uint8_t(sign | 0x7eu);
    else if (x < kSmallestNormal)  // beside 2^14 an fp32's last place is 2^-9, as that of e4m3's denormals
      bits = uint8_t(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(x) + 0x1p14f) - std::bit_cast<uint32_t>(0x1p14f)));
    else bits = uint8_t(sign | ((x + 0x7ffffu + (x >> 20 & 1) - (120u << 23)) >> 20));
  }
  constexpr operator float() const {  // NOLINT: widening is exact
    const uint32_t sign = uint32_t(bits & 0x80u) << 24, x = uint32_t(bits & 0x7fu) << 20;
    if (x == 0x7fu << 20) return std::bit_cast<float>(sign | 0x7fc00000u);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(std::bit_cast<float>(x) * 0x1p120f));  // denormals become normal
  }
};
static_assert(sizeof(F8E4M3) == 1);

// Five bits of exponent, two of mantissa: the upper half of an F16. Conversion rounds to nearest even and stops at 57344, from
// infinity too; NaN stays NaN.
struct F8E5M2 {
  uint8_t bits = 0;
  F8E5M2() = default;
  constexpr explicit F8E5M2(float f) {
    constexpr uint32_t kInfinity = 0x7f800000u, kMost = 0x47600000u, kSmallestNormal = 0x38800000u;  // fp32: 57344, 2^-14
    const uint32_t u = std::bit_cast<uint32_t>(f), sign = u >> 24 & 0x80u, x = u & 0x7fffffffu;
    if (x > kInfinity) bits = uint8_t(sign | 0x7fu);
    else if (x >= kMost) bits = uint8_t(sign | 0x7bu);
    else if (x < kSmallestNormal)  // beside 2^7 an fp32's last place is 2^-16, as that of e5m2's denormals
      bits = uint8_t(sign | (std::bit_cast<uint32_t>(std::bit_cast<float>(x) + 0x1p7f) - std::bit_cast<uint32_t>(0x1p7f)));
    else bits = uint8_t(sign | ((x + 0xfffffu + (x >> 21 & 1) - (112u << 23)) >> 21));
  }
  constexpr operator float() const {  // NOLINT: widening is exact
    return std::bit_cast<F16>(uint16_t(bits << 8));
  }
};
static_assert(sizeof(F8E5M2) == 1);

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<Bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<F16> {
  static constexpr DType value = DType::kF16;
};
template <>
struct DTypeOf<F8E4M3> {
  static constexpr DType value = DType::kF8E4M3;
};
template <>
struct DTypeOf<F8E5M2> {
  static constexpr DType value = DType::kF8E5M2;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};

}  // namespace sluice
