// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

inline constexpr int64_t kMatmulRows[] = {0, 1, 2, 3, 4, 5, 6, 7, 15, 16, 17, 31, 33, 63, 64, 65, 129};
inline constexpr int64_t kMatmulColumns[] = {0, 1, 3, 15, 16, 17, 100};
inline constexpr int64_t kMatmulDepths[] = {0, 1, 31, 32, 33, 64, 96, 100, 1024};

struct MatmulShape {
  int64_t n, k;  // w is [n, k]
};
// Qwen3.5-0.8B: qkv of GDN, gate or output of 2048, up and gate, down, beta and decay, LM head.
inline constexpr MatmulShape kMatmulBenchShapes[] = {{6144, 1024}, {2048, 1024}, {1024, 2048},
                                                     {3584, 1024}, {1024, 3584}, {16, 1024}};
inline constexpr MatmulShape kMatmulHead = {248320, 1024};
inline constexpr int64_t kMatmulBenchRows[] = {1, 4, 16, 512};

// On a GPU: of Qwen3.5-0.8B (qkv of GDN, down, beta and decay), 9B and 27B (gate, down, and a narrow one each); LM heads.
inline constexpr MatmulShape kMatmulGpuShapes[] = {{6144, 1024}, {1024, 3584},  {16, 1024},    {12288, 4096}, {4096, 12288},
                                                   {1024, 4096}, {17408, 5120}, {5120, 17408}, {5120, 6144}};
inline constexpr MatmulShape kMatmulGpuHeads[] = {{248320, 1024}, {248320, 4096}, {248320, 5120}};
inline constexpr int64_t kMatmulGpuRows[] = {1, 8, 16, 64, 512, 4096, 8192};

}  // namespace sluice
