// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct L2normCase {
  int64_t rows, heads, dim, row_stride;  // heads 0: rank 2; row_stride 0: dense
};

inline constexpr L2normCase kL2normCases[] = {
    {0, 0, 128, 0},    {1, 0, 1, 0},    {1, 0, 15, 0},  {3, 0, 16, 0},   {5, 0, 17, 40},    {65, 0, 63, 0},
    {13, 3, 128, 792}, {7, 2, 65, 200}, {64, 2, 96, 0}, {63, 1, 256, 0}, {5, 3, 600, 1808}, {3, 0, 1030, 0},
};
inline constexpr L2normCase kL2normBenchCases[] = {{512, 16, 128, 6144}, {1, 16, 128, 6144}};

}  // namespace sluice
