// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct HadamardCase {
  int64_t rows, heads, dim, row_stride;  // heads 0: rank 2; row_stride 0: dense
};

inline constexpr HadamardCase kHadamardCases[] = {
    {0, 0, 128, 0},   {1, 0, 1, 0},   {3, 0, 2, 5},       {3, 0, 4, 0},    {65, 0, 8, 0},    {5, 0, 16, 0},
    {7, 3, 32, 101},  {63, 0, 64, 0}, {9, 2, 64, 200},    {64, 0, 128, 0}, {5, 3, 128, 385}, {2, 65, 128, 0},
    {3, 2, 256, 520}, {9, 0, 512, 0}, {3, 0, 1024, 1032}, {2, 0, 4096, 0},
};
inline constexpr HadamardCase kHadamardBenchCases[] = {{512, 64, 128, 0}, {1, 64, 128, 0}};
inline constexpr HadamardCase kHadamardGpuBenchCases[] = {{4096, 64, 128, 0}, {4096, 64, 64, 0}, {8192, 8, 1024, 0}};

}  // namespace sluice
