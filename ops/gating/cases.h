// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GatingCase {
  int64_t tokens, heads, in_stride;  // in_stride 0: dense
};

inline constexpr GatingCase kGatingCases[] = {
    {0, 16, 0}, {1, 1, 0}, {1, 16, 0}, {3, 15, 40}, {63, 6, 0}, {64, 32, 0}, {65, 17, 35}, {257, 8, 0},
};
inline constexpr GatingCase kGatingBenchCases[] = {{512, 16, 0}, {1, 16, 0}};

}  // namespace sluice
