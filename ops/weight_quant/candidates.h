// The scales that are tried for a group.
#pragma once

#include <span>

#include "core/quantised.h"

namespace sluice {

inline constexpr float kLeastScale = 0x1p-126f;  // what is less counts as 0: its inverse might be infinite

// The codes of a type, and the codes that the largest weight of a group may be given, all tried with both signs or with one.
struct CodeRange {
  float least, most;
  std::span<const float> largest;
  bool both_signs;
};

inline CodeRange code_range(CodeType type) {
  static constexpr float kInt8[] = {127, 126, 125, 124};  // each rounds otherwise: the best of four has an eighth less squared error
  static constexpr float kInt4[] = {8, 7.5f, 8.5f, 9.5f};  // beyond 8 the largest weights are clipped
  if (type == CodeType::kInt8) return {-127, 127, kInt8, false};
  return {-8, 7, kInt4, true};
}

}  // namespace sluice
