// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GdnVerifyCase {
  int64_t HK, HV, K, V, open, rows;  // open rows before the call, rows of the draft
};

inline constexpr GdnVerifyCase kGdnVerifyCases[] = {
    {1, 1, 128, 128, 0, 4}, {1, 2, 64, 64, 30, 4}, {2, 4, 48, 96, 60, 4},
    {1, 3, 128, 64, 62, 1}, {1, 1, 16, 16, 13, 7}, {1, 1, 80, 16, 0, 64},
};

// Those that a GPU's wider pools and other capacities are tried with: widths up to 256, drafts of more than one reading of S.
inline constexpr GdnVerifyCase kGdnVerifyGpuCases[] = {
    {1, 2, 128, 128, 0, 8}, {1, 2, 128, 128, 15, 1}, {1, 4, 128, 128, 5, 11}, {1, 1, 16, 256, 3, 4},
    {1, 1, 256, 16, 1, 6},  {1, 2, 208, 240, 20, 7}, {2, 4, 64, 64, 0, 16},
};

inline constexpr GdnVerifyCase kGdnVerifyBenchCases[] = {{16, 16, 128, 128, 30, 4}, {16, 32, 128, 128, 30, 4}};

}  // namespace sluice
