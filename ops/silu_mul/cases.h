// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct SiluMulCase {
  int64_t rows, dim, in_stride;  // in_stride 0: dense
};

inline constexpr SiluMulCase kSiluMulCases[] = {
    {0, 16, 0},   {1, 1, 0},   {1, 15, 0},   {3, 16, 40},     {5, 17, 0},
    {63, 100, 0}, {64, 65, 0}, {65, 33, 70}, {2, 3584, 7168}, {9, 2049, 0},
};
inline constexpr SiluMulCase kSiluMulBenchCases[] = {{512, 3584, 7168}, {1, 3584, 7168}};

}  // namespace sluice
