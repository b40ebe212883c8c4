// Shapes for the test and the bench.
#pragma once

#include <cstdint>

#include "core/quantised.h"

namespace sluice {

// How w is stored; group 0: one scale a row (of fp8, where blocks are given, always 0).
struct QuantFormat {
  DType codes;
  int64_t group;
  DType scale;
};
inline constexpr QuantFormat kQuantFormats[] = {
    {DType::kI8, 0, DType::kBF16},   {DType::kI8, 32, DType::kF16},    {DType::kI8, 128, DType::kF32},
    {DType::kI32, 32, DType::kBF16}, {DType::kI32, 128, DType::kF32},  {DType::kI32, 64, DType::kF16},
    {DType::kI32, 0, DType::kF32},   {DType::kF8E4M3, 0, DType::kF32}, {DType::kF8E4M3, 0, DType::kBF16},
};

inline constexpr int64_t kQuantRows[] = {0, 1, 2, 3, 5, 6, 7, 15, 16, 17, 32, 33, 63, 64, 65};
inline constexpr int64_t kQuantColumns[] = {0, 1, 3, 16, 31, 33, 100};

}  // namespace sluice
