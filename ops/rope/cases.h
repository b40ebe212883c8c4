// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct RopeCase {
  int64_t tokens, q_heads, k_heads, dim, rotary_dim, row_stride;  // row_stride of q, 0: dense
};

inline constexpr RopeCase kRopeCases[] = {
    {0, 2, 1, 64, 32, 0},    {1, 1, 1, 2, 2, 0},      {1, 3, 1, 10, 6, 0},     {5, 4, 2, 64, 64, 0},   {7, 4, 2, 256, 64, 0},
    {13, 3, 1, 70, 34, 333}, {65, 2, 2, 128, 128, 0}, {64, 2, 1, 96, 64, 200}, {3, 40, 3, 128, 96, 0},
};
inline constexpr RopeCase kRopeGpuBenchCases[] = {
    {4096, 16, 2, 256, 64, 0}, {4096, 128, 1, 64, 64, 0}, {1, 128, 1, 64, 64, 0}, {8192, 32, 8, 128, 128, 0}};
inline constexpr RopeCase kRopeBenchCases[] = {{512, 8, 2, 256, 64, 0}, {1, 8, 2, 256, 64, 0}};

}  // namespace sluice
