// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct KvAppendCase {
  int64_t sequences, max_rows, heads, dim, page, max_start;  // each sequence brings 0 to max_rows rows, after 0 to max_start
};

inline constexpr KvAppendCase kKvAppendCases[] = {
    {0, 0, 1, 16, 4, 0},   {1, 0, 1, 16, 4, 5},    {1, 1, 1, 1, 1, 0},      {3, 5, 2, 15, 4, 9},
    {4, 1, 2, 64, 16, 40}, {2, 65, 1, 17, 64, 70}, {3, 130, 2, 128, 16, 3},
};
inline constexpr KvAppendCase kKvAppendBenchCases[] = {{1, 512, 2, 256, 64, 0}, {1, 1, 2, 256, 64, 0}};
inline constexpr KvAppendCase kKvAppendGpuBenchCases[] = {
    {1, 1, 4, 256, 64, 4000}, {64, 1, 4, 256, 64, 4000}, {4, 8192, 4, 256, 64, 0}};

}  // namespace sluice
