// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GdnDecodeCase {
  int64_t HK, HV, K, V;
};

inline constexpr GdnDecodeCase kGdnDecodeCases[] = {
    {1, 1, 16, 16}, {1, 2, 128, 128}, {2, 6, 64, 48}, {1, 4, 96, 256}, {1, 1, 256, 80},
};
// Open rows before the step: a new chunk, the edges of vectors, the row that closes the chunk.
inline constexpr int64_t kGdnDecodeRows[] = {0, 1, 15, 16, 47, 62, 63};

// Qwen3.5-0.8B, and two value heads a key head.
inline constexpr GdnDecodeCase kGdnDecodeBenchCases[] = {{16, 16, 128, 128}, {16, 32, 128, 128}};

}  // namespace sluice
