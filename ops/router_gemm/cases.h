// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct RouterCase {
  int64_t tokens, experts, depth;
  int64_t pad = 0;  // elements between rows
};

// Tokens around 4, 8 and 16, which blocks take; experts around 8; depths with every kind of tail, and with few and many stages.
inline constexpr RouterCase kRouterCases[] = {
    {0, 8, 128},       {1, 0, 128},      {2, 3, 0},       {1, 1, 1},          {3, 5, 7, 2},       {1, 256, 64},   {4, 60, 64},
    {5, 160, 96},      {6, 256, 128},    {7, 63, 100, 3}, {8, 65, 256, 16},   {9, 64, 1023},      {15, 17, 1032}, {16, 128, 512, 8},
    {17, 40, 1024, 1}, {33, 24, 320, 8}, {64, 128, 192},  {65, 16, 2048, 24}, {2, 9, 4096 + 512}, {17, 24, 8192},
};
// DeepSeek-V3, Kimi, GLM-5.
inline constexpr RouterCase kRouterPublished[] = {{1, 256, 7168}, {1, 384, 7168}, {1, 256, 6144}};
inline constexpr int64_t kRouterBenchTokens[] = {1, 4, 8, 16, 64};

}  // namespace sluice
