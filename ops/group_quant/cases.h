// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GroupQuantCase {
  int64_t experts, tokens, groups;  // experts 0: rank 2
  int group;
  int64_t gap;  // elements between rows of x
};

// Group counts around words of four and chunks of 512 elements; rows that no 16 bytes divide.
inline constexpr GroupQuantCase kGroupQuantCases[] = {
    {0, 0, 4, 128, 0}, {0, 1, 1, 16, 0},  {0, 1, 4, 128, 0},  {0, 3, 5, 128, 0},  {0, 4, 9, 64, 8},   {0, 5, 3, 64, 1},
    {0, 7, 33, 16, 0}, {0, 63, 6, 32, 0}, {0, 65, 2, 128, 4}, {0, 9, 17, 32, 16}, {0, 2, 56, 128, 0}, {0, 130, 3, 16, 0},
    {3, 5, 7, 128, 0}, {2, 0, 3, 64, 0},  {4, 9, 18, 32, 8},  {1, 1, 1, 16, 3},   {0, 2, 0, 128, 0},
};
// [T, H] of bf16 in groups of 128.
struct GroupQuantBenchCase {
  int64_t tokens, dim;
};
inline constexpr GroupQuantBenchCase kGroupQuantBenchCases[] = {{1, 7168}, {512, 7168}};
inline constexpr GroupQuantBenchCase kGroupQuantGpuBenchCases[] = {{16, 7168},   {128, 7168},  {2048, 7168}, {4096, 7168},
                                                                   {8192, 7168}, {4096, 1536}, {4096, 2048}, {4096, 6144}};

}  // namespace sluice
