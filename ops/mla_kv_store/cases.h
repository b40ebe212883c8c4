// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct MlaKvStoreCase {
  int64_t tokens, latent_dim, rope_dim, page;  // page 0: a cache without pages
  int64_t latent_stride, rope_stride, slack;   // strides of the inputs' rows, 0: dense; elements behind a row of the cache
};

// Sizes of DeepSeek and GLM, tails of every kind, rows at odd addresses.
inline constexpr MlaKvStoreCase kMlaKvStoreCases[] = {
    {0, 512, 64, 64, 0, 0, 0},    {1, 512, 64, 64, 0, 0, 0},    {63, 512, 64, 64, 0, 0, 0}, {65, 512, 64, 1, 2112, 2112, 0},
    {64, 512, 64, 0, 0, 0, 64},   {130, 512, 64, 7, 576, 0, 0}, {5, 128, 0, 3, 0, 0, 1},    {7, 256, 33, 0, 257, 0, 3},
    {6, 384, 16, 4, 0, 21, 0},    {3, 640, 64, 2, 0, 0, 16},    {9, 1, 1, 2, 0, 0, 0},      {4, 0, 8, 2, 0, 0, 0},
    {33, 96, 16, 16, 112, 19, 0}, {5, 100, 7, 0, 0, 0, 5},      {2, 1152, 130, 2, 0, 0, 0},
};
inline constexpr MlaKvStoreCase kMlaKvStoreBenchCases[] = {{8, 512, 64, 64, 0, 0, 0}, {512, 512, 64, 64, 0, 0, 0}};
inline constexpr int64_t kMlaKvStoreGpuBenchTokens[] = {1, 64, 128, 4096, 16384};

}  // namespace sluice
