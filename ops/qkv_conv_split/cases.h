// Shapes for the test and the bench.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace sluice {

struct QkvConvSplitSequence {
  int64_t tokens, start;
};

struct QkvConvSplitCase {
  std::vector<QkvConvSplitSequence> sequences;
  int64_t key_heads, value_heads, key_dim, value_dim, width, ring;
  bool allow_neg_eigval = false;
  int64_t spare = 0;   // columns of a row of qkv beyond its width
  int64_t offset = 0;  // elements in front of qkv and v; odd: no wide access is possible
};

inline const std::vector<QkvConvSplitCase>& qkv_conv_split_cases() {
  static const std::vector<QkvConvSplitCase> cases = {
      {{}, 1, 1, 16, 16, 4, 4},
      {{{0, 7}}, 1, 2, 8, 8, 4, 8},
      {{{1, 0}}, 1, 1, 1, 1, 2, 2},
      {{{1, 0}, {1, 1}, {0, 3}, {1, 2}, {1, 3}, {1, 1000003}}, 2, 4, 32, 48, 4, 16, true, 5},
      {{{4, 2}, {3, 1}, {2, 0}}, 1, 3, 15, 17, 3, 4},
      {{{63, 0}, {1, 63}, {65, 64}}, 1, 2, 128, 128, 4, 8, false, 16},
      {{{64, 3}, {7, 6}}, 2, 2, 130, 66, 4, 4, true},
      {{{520, 0}}, 1, 3, 128, 128, 4, 16},   // four rows a thread
      {{{2049, 3}}, 1, 2, 128, 128, 4, 16},  // eight
      {{{513, 9}, {0, 3}, {62, 1}}, 1, 2, 136, 48, 4, 16, false, 8},
      {{{0, 0}, {1, 2}, {2, 1}, {3, 0}, {5, 7}, {0, 4}, {127, 60}, {64, 64}, {65, 1}, {258, 1000}, {1700, 0}},
       1,
       1,
       64,
       96,
       4,
       8,
       true},
      {{{530, 2}}, 1, 1, 128, 256, 3, 4},
      {{{519, 30}, {40, 1}}, 2, 2, 48, 48, 4, 32, false, 3, 1},
      {{{33, 5}}, 3, 17, 5, 3, 2, 32},
      {{{3, 9}, {2, 1}}, 3, 2, 200, 600, 4, 8},  // groups of two heads with one left over; heads wider than a group
  };
  return cases;
}

struct QkvConvSplitBenchCase {
  int64_t sequences, tokens;
  DType dtype;  // of qkv, weight and gates
};

// Qwen3.5-0.8B: 16 key heads and 16 value heads of 128, 6144 channels.
inline constexpr QkvConvSplitBenchCase kQkvConvSplitBenchCases[] = {
    {1, 1, DType::kF32}, {1, 1, DType::kBF16}, {5, 1, DType::kBF16}, {1, 512, DType::kF32}, {1, 512, DType::kBF16},
};

}  // namespace sluice
