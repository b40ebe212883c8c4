// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct IndexerPrepareCase {
  int64_t tokens, heads, dim, rotary_dim;
  int64_t gap;  // elements behind each token's row of q and k, as of a slice of a wider one
};

// Those of the models, small ones of test checkpoints, and rows with tails and odd addresses.
inline constexpr IndexerPrepareCase kIndexerPrepareCases[] = {
    {0, 4, 128, 64, 0}, {1, 64, 128, 64, 0}, {3, 32, 128, 64, 64}, {65, 1, 128, 64, 0}, {2, 5, 128, 64, 3}, {2, 3, 128, 128, 0},
    {3, 2, 128, 0, 0},  {4, 12, 32, 16, 0},  {3, 3, 64, 64, 8},    {5, 16, 48, 16, 0},  {2, 3, 18, 6, 1},   {2, 2, 1024, 64, 0},
};

// Tokens of a bench; DeepSeek-V3.2's heads.
inline constexpr int64_t kIndexerPrepareBenchTokens[] = {1, 8, 64, 128, 512, 4096, 16384};

}  // namespace sluice
