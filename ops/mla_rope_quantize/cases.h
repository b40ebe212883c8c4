// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct MlaRopeQuantizeCase {
  int64_t tokens, heads, nope_dim, rope_dim;  // heads 0: no q
  int64_t gap;                                // elements between rows of the inputs
};

// Sizes of DeepSeek and GLM, tails of every kind, rows at odd addresses.
inline constexpr MlaRopeQuantizeCase kMlaRopeQuantizeCases[] = {
    {0, 4, 512, 64, 0}, {1, 128, 512, 64, 0}, {19, 16, 512, 64, 0}, {65, 1, 512, 64, 0}, {64, 0, 512, 64, 0}, {7, 3, 512, 64, 8},
    {5, 5, 520, 66, 2}, {3, 2, 100, 34, 1},   {9, 2, 0, 6, 0},      {4, 3, 16, 0, 0},    {6, 2, 1, 2, 3},     {2, 2, 1032, 256, 0},
};
inline constexpr MlaRopeQuantizeCase kMlaRopeQuantizeBenchCases[] = {{1, 16, 512, 64, 0}, {128, 16, 512, 64, 0}};
inline constexpr MlaRopeQuantizeCase kMlaRopeQuantizeGpuBenchCases[] = {
    {1, 128, 512, 64, 0}, {16, 128, 512, 64, 0}, {128, 128, 512, 64, 0}, {2047, 64, 512, 64, 0}, {4096, 128, 512, 64, 0},
};

}  // namespace sluice
