// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct GatedRmsnormCase {
  int64_t rows, heads, dim, row_stride;  // heads 0: rank 2; row_stride 0: dense
};

inline constexpr GatedRmsnormCase kGatedRmsnormCases[] = {
    {0, 0, 128, 0}, {1, 0, 1, 0}, {1, 0, 15, 0}, {3, 0, 16, 0}, {5, 0, 17, 40}, {65, 0, 63, 0}, {13, 3, 128, 792}, {7, 2, 65, 200},
};
inline constexpr GatedRmsnormCase kGatedRmsnormBenchCases[] = {{512, 16, 128, 0}, {1, 16, 128, 0}};

}  // namespace sluice
