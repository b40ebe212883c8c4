// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct MoeAlignCase {
  int64_t tokens, top_k, experts, block;
};

// Around a warp, around what a block and one launch do, around a tile of many, entries of several rounds; experts around the
// threads of a block.
inline constexpr MoeAlignCase kMoeAlignCases[] = {
    {0, 8, 256, 64},     {1, 1, 1, 16},      {1, 8, 256, 128},    {3, 5, 7, 32},     {4, 8, 8, 16},       {5, 7, 33, 64},
    {8, 8, 64, 32},      {16, 8, 384, 64},   {64, 8, 256, 128},   {63, 16, 65, 16},  {128, 8, 256, 64},   {1023, 1, 1024, 16},
    {129, 8, 257, 64},   {205, 5, 31, 32},   {1000, 10, 512, 16}, {1024, 8, 8, 128}, {2048, 4, 1025, 32}, {4097, 9, 257, 64},
    {300, 32, 2048, 16}, {35000, 1, 3, 128}, {32, 8, 256, 16},    {257, 1, 300, 32}, {8193, 1, 40, 16},   {70000, 1, 300, 32},
};
struct MoeAlignBenchCase {
  int64_t tokens, experts;
};
inline constexpr MoeAlignBenchCase kMoeAlignBenchCases[] = {{1, 256},   {16, 256},   {64, 256},    {128, 256},
                                                            {512, 256}, {5000, 256}, {40000, 256}, {40000, 1024}};

}  // namespace sluice
