// Shapes for the test and the bench.
#pragma once

#include <cstdint>

#include "ops/moe_gate/moe_gate.h"

namespace sluice {

struct MoeGateCase {
  int64_t experts, n_group, topk_group, top_k;
  GateScoring scoring = GateScoring::kSigmoid;
};

// Routers of DeepSeek-V3, GLM-5 and Kimi, then one of 128 experts in groups, and of Qwen3-Next.
inline constexpr MoeGateCase kMoeGateModels[] = {
    {256, 8, 4, 8}, {256, 1, 1, 8}, {384, 1, 1, 8}, {128, 4, 2, 4}, {512, 1, 1, 10, GateScoring::kSoftmax},
};
// Around a vector and a warp, groups that no warp divides, of one and of two experts, all that there are, the limits.
inline constexpr MoeGateCase kMoeGateEdges[] = {
    {1, 1, 1, 1},
    {2, 2, 1, 1},
    {7, 1, 1, 7},
    {31, 1, 1, 3},
    {32, 8, 8, 32},
    {33, 3, 2, 5},
    {60, 1, 1, 4},
    {63, 9, 2, 14},
    {64, 32, 5, 10},
    {65, 5, 5, 8},
    {96, 96, 9, 9},
    {129, 43, 20, 17},
    {160, 8, 3, 6},
    {192, 3, 1, 32},
    {320, 2, 1, 12},
    {512, 16, 16, 32},
    {640, 5, 3, 8},
    {896, 28, 4, 16},
    {1000, 40, 13, 32},
    {1024, 16, 4, 32},
    {1024, 512, 16, 8},
    {1024, 1, 1, 1},
    {257, 257, 64, 31},
    {160, 1, 1, 6, GateScoring::kSoftmax},
    {60, 1, 1, 4, GateScoring::kSoftmax},
    {33, 11, 4, 9, GateScoring::kSoftmax},
    {160, 8, 3, 6, GateScoring::kSoftmax},
    {1024, 8, 8, 32, GateScoring::kSoftmax},
};
inline constexpr int64_t kMoeGateBenchTokens[] = {1, 16, 512, 5000, 40000};

}  // namespace sluice
