// Shapes for the test and the bench.
#pragma once

#include <cstdint>

namespace sluice {

struct EmbedCase {
  int64_t tokens, vocab, dim, table_stride, out_stride;  // stride 0: dense
};

inline constexpr EmbedCase kEmbedCases[] = {
    {0, 5, 16, 0, 0}, {1, 1, 1, 0, 0}, {3, 7, 15, 0, 0}, {63, 100, 17, 40, 33}, {65, 9, 128, 130, 0}, {64, 300, 1024, 0, 0},
};
inline constexpr EmbedCase kEmbedBenchCases[] = {{512, 65536, 1024, 0, 0}, {1, 65536, 1024, 0, 0}};

}  // namespace sluice
