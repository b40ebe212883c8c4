// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct IndexTopkCase {
  int64_t rows, columns, k;
};

// Around k, around the parts that a GPU's cluster and its threads take, and beyond what a cluster holds.
inline constexpr IndexTopkCase kIndexTopkCases[] = {
    {0, 100, 8},      {1, 0, 4},        {1, 1, 1},        {3, 63, 64},      {2, 64, 64},      {5, 65, 64},       {2, 300, 0},
    {7, 129, 1},      {2, 1000, 17},    {1, 2047, 2048},  {1, 2048, 2048},  {3, 2049, 2048},  {64, 4096, 2048},  {2, 8320, 2048},
    {1, 20000, 4096}, {2, 65536, 2048}, {1, 65537, 2047}, {1, 131072, 100}, {1, 500001, 512}, {1, 1048576, 2048}};
inline constexpr IndexTopkCase kIndexTopkBenchCases[] = {{1, 65536, 2048}, {16, 8192, 2048}};
inline constexpr IndexTopkCase kIndexTopkGpuBenchCases[] = {
    {1, 4096, 2048},   {1, 8192, 2048},    {1, 131072, 2048}, {16, 65536, 2048},  {64, 4096, 2048},   {64, 8192, 2048},
    {64, 65536, 2048}, {64, 131072, 2048}, {256, 8192, 2048}, {256, 65536, 2048}, {4096, 8192, 2048}, {1, 1048576, 2048}};

}  // namespace sluice
