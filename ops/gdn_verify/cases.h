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

inline constexpr GdnVerifyCase kGdnVerifyBenchCases[] = {{16, 16, 128, 128, 30, 4}, {16, 32, 128, 128, 30, 4}};

}  // namespace sluice
