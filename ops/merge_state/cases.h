// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct MergeStateCase {
  int64_t tokens, heads, dim, row_stride;  // row_stride of the inputs' and the output's values; 0: dense
};

// Head counts at, below and behind what other kernels' blocks hold; dims with every kind of tail; rows that no 16 bytes divide.
inline constexpr MergeStateCase kMergeStateCases[] = {
    {0, 4, 128, 0},     {1, 1, 1, 0},       {3, 2, 7, 0},     {5, 1, 64, 0},   {2, 16, 80, 0}, {3, 16, 33, 531},
    {2, 32, 128, 4104}, {2, 33, 128, 0},    {1, 64, 192, 0},  {2, 65, 100, 0}, {3, 2, 512, 0}, {2, 3, 600, 0},
    {1, 128, 256, 0},   {2, 129, 48, 6200}, {1, 1024, 64, 0}, {3, 5, 8, 45},   {2, 3, 0, 0},   {2, 0, 8, 0},
};
inline constexpr MergeStateCase kMergeStateBenchCases[] = {{512, 16, 128, 0}, {1, 16, 128, 0}};
inline constexpr MergeStateCase kMergeStateGpuBenchCases[] = {
    {512, 64, 128, 0}, {4096, 16, 128, 0}, {4096, 64, 128, 0}, {4096, 128, 128, 0}};

}  // namespace sluice
