// Shapes for the test and the bench.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "ops/qkv_split/qkv_split.h"

namespace sluice {

struct QkvSplitCase {
  int64_t rows, key_heads, value_heads, key_dim, value_dim;
  bool z, gates;           // which optional outputs are asked for
  int64_t spare = 0;       // columns of a row of `mixed` beyond those that are read
  int64_t row_stride = 0;  // of q, k and v; 0: dense
};

inline constexpr QkvSplitCase kQkvSplitCases[] = {
    {0, 1, 1, 8, 8, true, true},
    {1, 1, 1, 1, 1, false, false},
    {5, 2, 4, 32, 48, true, true, 8},
    {3, 2, 2, 15, 17, true, false, 3},
    {65, 1, 3, 16, 5, false, true, 1},
    {63, 3, 6, 7, 9, false, false, 40, 100},
    {64, 2, 4, 128, 128, true, true, 0, 640},
    {3, 16, 64, 128, 128, false, false},  // 12288 columns
    {1030, 1, 2, 16, 24, true, true},
};

// Qwen3.5-0.8B.
inline constexpr QkvSplitCase kQkvSplitBenchCases[] = {{1, 16, 16, 128, 128, true, true}, {512, 16, 16, 128, 128, true, true}};

}  // namespace sluice
