// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct TokenLogprobsCase {
  int64_t rows, vocab, best, row_stride;  // row_stride 0: dense
};

// Around a vector (16), a group (64) and a block (4096) of the vector forms, and of tokens wanted around those there are.
inline constexpr TokenLogprobsCase kTokenLogprobsCases[] = {
    {0, 10, 3, 0},   {1, 1, 2, 0},   {3, 2, 20, 0},      {2, 15, 5, 0},   {5, 17, 20, 20},   {3, 63, 1, 0},
    {65, 64, 20, 0}, {3, 65, 20, 0}, {4, 1000, 0, 1003}, {2, 4097, 7, 0}, {3, 12300, 20, 0},
};
inline constexpr TokenLogprobsCase kTokenLogprobsBenchCases[] = {
    {1, 248320, 0, 0}, {1, 248320, 20, 0}, {64, 248320, 0, 0}, {64, 248320, 20, 0}};

}  // namespace sluice
