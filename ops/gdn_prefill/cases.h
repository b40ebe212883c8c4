// Shapes for the test and the bench.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

struct GdnPrefillCase {
  int64_t HK, HV, K, V;
  std::vector<int64_t> lengths, starts;  // one a sequence
};

// Lengths round the chunk, starts that leave the chunk almost empty and almost full, head dims and groups of published models.
inline const std::vector<GdnPrefillCase> kGdnPrefillCases = {
    {1, 1, 16, 16, {1}, {0}},
    {1, 2, 128, 128, {1, 63, 66}, {0, 0, 0}},
    {2, 4, 64, 64, {64, 0, 65, 1}, {0, 0, 64, 63}},
    {1, 3, 128, 64, {70}, {1}},
    {2, 2, 64, 128, {130, 7}, {62, 191}},
    {1, 4, 48, 96, {3, 2}, {31, 47}},
    {1, 1, 256, 256, {66}, {15}},
    {3, 3, 80, 48, {20}, {127}},
};
// Qwen3.5-0.8B (16 heads of 128), and two and four value heads a key head as in its larger sisters.
inline const std::vector<GdnPrefillCase> kGdnPrefillBenchCases = {
    {16, 16, 128, 128, {512}, {0}},
    {16, 32, 128, 128, {512}, {0}},
    {16, 64, 128, 128, {512}, {0}},
    {16, 16, 128, 128, {128, 128, 128, 128}, {0, 0, 0, 0}},
};

}  // namespace sluice
