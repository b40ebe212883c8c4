// Shapes for the tests of mla_prefill, and for its bench.
#pragma once

#include <cstdint>

namespace sluice {

struct MlaPrefillCase {
  int64_t heads, nope, rope, value;
  int sequences;
  int64_t rows[5], keys[5];  // of each sequence
};

// DeepSeek's and GLM's heads, dimensions with tails, and without rope; prefixes, rows without keys, keys without rows, blocks and
// tiles at their edges; more tiles than a GPU has multiprocessors.
inline constexpr MlaPrefillCase kMlaPrefillCases[] = {
    {2, 128, 64, 128, 5, {1, 63, 64, 65, 130}, {1, 63, 64, 65, 130}},
    {1, 128, 64, 128, 5, {1, 4, 0, 3, 129}, {200, 64, 9, 0, 320}},
    {2, 192, 64, 256, 3, {5, 66, 129}, {70, 66, 2}},
    {1, 192, 64, 256, 2, {130, 1}, {195, 64}},
    {1, 128, 64, 128, 4, {150, 129, 140, 1}, {150, 300, 140, 385}},
    {1, 192, 64, 256, 3, {131, 90, 33}, {250, 90, 20}},
    {70, 128, 64, 128, 5, {1, 3, 0, 2, 5}, {4, 30, 7, 150, 5}},
    {70, 192, 64, 256, 3, {1, 2, 1}, {9, 2, 90}},
    {3, 48, 16, 40, 3, {21, 1, 3}, {21, 64, 140}},
    {2, 33, 7, 65, 2, {67, 2}, {80, 1}},
    {1, 64, 0, 16, 1, {70}, {70}},
};

struct MlaPrefillBenchCase {
  int64_t sequences, rows, keys, heads;  // rows and keys of each sequence
  bool glm;                              // heads of 192 + 64 and 256; else of 128 + 64 and 128
};
inline constexpr MlaPrefillBenchCase kMlaPrefillBenchCases[] = {
    {1, 2048, 2048, 128, false}, {1, 8192, 8192, 16, false},   {8, 1024, 1024, 16, false},
    {1, 1024, 8192, 16, false},  {1, 16384, 16384, 16, false}, {1, 4096, 4096, 64, true},
};

}  // namespace sluice
