// Shapes for the test and the bench.
#pragma once

#include <cstdint>

#include "ops/sample/sample.h"

namespace sluice {

struct SampleCase {
  int64_t rows, vocab, row_stride;  // row_stride 0: dense
};

// Around a vector (16), a group (64) and a block (4096) of the vector forms.
inline constexpr SampleCase kSampleCases[] = {
    {0, 10, 0}, {1, 1, 0}, {3, 2, 0}, {2, 15, 0}, {5, 17, 20}, {3, 63, 0}, {3, 65, 0}, {4, 1000, 1003}, {2, 4097, 0}, {3, 12300, 0},
};
inline constexpr SamplingParams kSampleParams[] = {
    {},
    {.temperature = 1},
    {.temperature = 1, .top_k = 1},
    {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f},
    {.temperature = 1, .top_k = 1'000'000},
    {.temperature = 1.5f, .top_p = 0.95f},
    {.temperature = 1, .top_p = 1e-6f},
    {.temperature = 1, .min_p = 0.05f},
    {.temperature = 1, .min_p = 1},
    {.temperature = 1e-6f},
    {.temperature = 100, .top_k = 500, .top_p = 0.9f, .min_p = 0.01f},
    {.temperature = 1, .top_p = 0.95f, .min_p = 0.2f},
    {.temperature = 1, .top_k = 400, .min_p = 0.1f},
};
inline constexpr SampleCase kSampleBenchCases[] = {{1, 248320, 0}, {64, 248320, 0}};
// Rows of all settings in one call; the smallest case, so that it is the one in tests/dependent_launch.
inline constexpr SampleCase kSampleMixedBenchCase{10, 20000, 0};

}  // namespace sluice
