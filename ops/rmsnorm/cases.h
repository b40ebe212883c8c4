// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct RmsnormCase {
  int64_t rows, heads, dim, row_stride;  // heads 0: rank 2; row_stride 0: dense
};

inline constexpr RmsnormCase kRmsnormCases[] = {
    {0, 0, 128, 0},    {1, 0, 1, 0},    {1, 0, 15, 0},      {3, 0, 16, 0},       {5, 0, 17, 40},
    {65, 0, 63, 0},    {63, 0, 200, 0}, {4, 0, 1024, 1030}, {13, 3, 128, 792},   {7, 2, 65, 200},
    {9, 5, 256, 1288}, {1, 3, 64, 0},   {9, 0, 600, 0},     {17, 0, 1536, 1544}, {2, 0, 4104, 0},
    {3, 0, 7168, 0},   {1, 0, 8192, 0}, {2, 0, 9000, 9003}, {1, 0, 20000, 0},    {1, 0, 32768, 0},
};
inline constexpr RmsnormCase kRmsnormBenchCases[] = {{512, 0, 1024, 0}, {1, 0, 1024, 0}, {512, 8, 256, 0}, {1, 8, 256, 0}};
// A sum in bf16, its norm in place.
inline constexpr RmsnormCase kRmsnormGpuBenchCases[] = {
    {1, 0, 7168, 0},    {16, 0, 7168, 0},   {64, 0, 7168, 0},   {1024, 0, 7168, 0},  {4096, 0, 7168, 0},
    {4096, 0, 6144, 0}, {4096, 0, 1536, 0}, {4096, 0, 2048, 0}, {4096, 0, 16384, 0},
};

}  // namespace sluice
