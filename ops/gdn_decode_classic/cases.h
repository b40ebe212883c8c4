// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GdnDecodeClassicCase {
  int64_t batch, HK, HV, K, V;
};

inline constexpr GdnDecodeClassicCase kGdnDecodeClassicCases[] = {
    {0, 1, 1, 16, 16},   {1, 1, 1, 16, 16},   {3, 1, 2, 128, 128}, {4, 2, 6, 64, 48},  {2, 1, 4, 96, 256},
    {5, 2, 8, 128, 128}, {2, 1, 1, 256, 256}, {2, 1, 3, 256, 16},  {2, 1, 2, 16, 240},
};
// Qwen3.5-0.8B, alone and sixteen sequences together.
inline constexpr GdnDecodeClassicCase kGdnDecodeClassicBenchCases[] = {{1, 16, 16, 128, 128}, {16, 16, 16, 128, 128}};

}  // namespace sluice
