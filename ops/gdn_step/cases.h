// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GdnStepCase {
  int64_t HK, HV, K, V, width;
};

inline constexpr GdnStepCase kGdnStepCases[] = {{1, 1, 16, 16, 2}, {2, 4, 128, 128, 4}, {2, 6, 48, 80, 3}, {5, 5, 64, 64, 4}};
// More for a GPU, which is tried with every capacity of the chunk: heads in groups, widths up to 256.
inline constexpr GdnStepCase kGdnStepGpuCases[] = {
    {2, 8, 128, 128, 4}, {1, 1, 256, 16, 3}, {1, 2, 16, 256, 4}, {1, 3, 176, 208, 2}};

// Qwen3.5-0.8B, and two value heads a key head; sequences together.
struct GdnStepBenchCase {
  int64_t batch, HK, HV, K, V;
};
inline constexpr GdnStepBenchCase kGdnStepBenchCases[] = {{1, 16, 16, 128, 128}, {1, 16, 32, 128, 128}, {16, 16, 16, 128, 128}};

}  // namespace sluice
