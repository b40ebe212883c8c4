// A row's scale as the forms compute it, on the CPU and in kernels.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "ops/group_quant/scale.h"

namespace sluice {

inline constexpr float kLargest = std::numeric_limits<float>::max();
inline constexpr float kLeastOfRow = 0x1p-100f;  // so that scales are normal numbers
// The largest of which 127 is finite: the quotient is rounded up.
inline constexpr float kMostScale = std::bit_cast<float>(std::bit_cast<uint32_t>(kLargest / kMostInt8) - 1);

// Of a row whose largest size is `most`, NaN or infinite where one of its values is.
SLUICE_INLINE constexpr float scale_of_row(float most) {
  if (!(most <= kLargest)) return std::numeric_limits<float>::quiet_NaN();
  const float scale = (most < kLeastOfRow ? kLeastOfRow : most) / kMostInt8;
  return scale < kMostScale ? scale : kMostScale;
}

}  // namespace sluice
