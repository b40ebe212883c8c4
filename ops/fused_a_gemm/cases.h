// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct FusedACase {
  int64_t tokens, columns, depth;  // w is [columns, depth]
  int64_t pad = 0;                 // elements between rows; a multiple of 16, or a GPU does not take them
};

// Tokens around 8 and 16, which a block's matrix instructions take; columns around 8, 128 and what several blocks have; depths with
// part of a block, with few and many stages, and none.
inline constexpr FusedACase kFusedACases[] = {
    {0, 16, 128},       {1, 0, 128},        {2, 3, 0},       {1, 1, 1},          {1, 16, 128},  {2, 8, 64},
    {3, 7, 100, 3},     {4, 9, 127, 1},     {5, 64, 129, 7}, {7, 65, 256, 16},   {8, 63, 384},  {9, 129, 640, 48},
    {15, 128, 1000, 5}, {16, 130, 1152},    {17, 100, 2048}, {33, 260, 512, 32}, {64, 40, 128}, {65, 24, 192, 16},
    {1, 577, 1280},     {16, 16, 4096, 64}, {2, 9, 67584},
};
inline constexpr FusedACase kFusedAPublished[] = {{1, 2112, 7168}, {1, 2624, 6144}};  // DeepSeek-V3, GLM-5
inline constexpr int64_t kFusedABenchTokens[] = {1, 2, 4, 8, 16};

}  // namespace sluice
