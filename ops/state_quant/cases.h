// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct StateQuantCase {
  int64_t states, rows, length;
  int64_t gap;  // floats, and codes, between states
};

inline constexpr StateQuantCase kStateQuantCases[] = {
    {0, 16, 16, 0},   {3, 0, 16, 0},   {1, 1, 16, 0},     {2, 7, 32, 4},  {3, 63, 48, 16}, {1, 64, 64, 1},
    {2, 65, 112, 16}, {5, 16, 128, 0}, {2, 128, 128, 64}, {3, 9, 144, 8}, {1, 33, 256, 0},
};
// The states of all layers of a snapshot: Qwen3.5's of 0.8B and 27B.
inline constexpr StateQuantCase kStateQuantBenchCases[] = {{18 * 16, 128, 128, 0}, {48 * 48, 128, 128, 0}};

}  // namespace sluice
