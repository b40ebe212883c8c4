// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

// Tokens over keys of one matrix.
struct IndexLogitsCase {
  int64_t tokens, heads, dim, keys;
};

// Head counts of every filling of a tile, keys around the sixteen and the blocks that forms take.
inline constexpr IndexLogitsCase kIndexLogitsCases[] = {
    {0, 4, 128, 10}, {3, 2, 64, 0},    {1, 1, 32, 1},   {2, 0, 64, 20},   {1, 64, 128, 15}, {3, 64, 128, 16}, {9, 32, 128, 17},
    {8, 16, 64, 63}, {2, 33, 128, 64}, {65, 8, 32, 65}, {17, 5, 64, 200}, {2, 64, 64, 700}, {1, 70, 32, 130}, {1, 64, 128, 1100}};

// One query for each of next_n tokens of B sequences over `context` keys in pages of 64.
struct IndexLogitsDecodeCase {
  int64_t sequences, next_n, heads, context;
};

inline constexpr IndexLogitsCase kIndexLogitsBenchCases[] = {{16, 64, 128, 2048}};
inline constexpr IndexLogitsCase kIndexLogitsGpuBenchCases[] = {
    {2048, 64, 128, 8192}, {8192, 64, 128, 8192}, {2048, 32, 128, 8192}, {2048, 64, 128, 65536}};
inline constexpr IndexLogitsDecodeCase kIndexLogitsDecodeBenchCases[] = {{1, 1, 64, 131072}, {16, 1, 64, 65536}, {64, 1, 64, 8192},
                                                                         {64, 1, 64, 65536}, {64, 2, 64, 65536}, {64, 1, 32, 65536},
                                                                         {256, 1, 64, 8192}};

}  // namespace sluice
