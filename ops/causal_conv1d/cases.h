// Shapes for the test and the bench.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.h"

namespace sluice {

struct CausalConv1dCase {
  std::vector<int64_t> lengths;  // tokens of each sequence
  int64_t channels, width;
  bool bias = false, silu = true;
  int64_t row_stride = 0;           // of x and y; 0: dense
  bool channels_contiguous = true;  // of conv_state and step_states; false: as files hold them, [C, W-1] dense
};

inline const std::vector<CausalConv1dCase>& causal_conv1d_cases() {
  static const std::vector<CausalConv1dCase> cases = {
      {{}, 16, 4},
      {{0}, 5, 4},
      {{1}, 1, 2},
      {{1, 0, 2}, 15, 3, true, true, 40},
      {{1, 2, 3, 64, 65}, 96, 4, false, true, 0, false},
      {{0, 37}, 72, 4, true},
      {{63, 1, 1}, 17, 4, true, false, 19, false},
      {{5, 0, 4, 4}, 257, 4, false, true, 300},
      {{2, 9}, 130, 2, true, true, 0, false},
      {{1, 2, 3, 5, 7, 130, 64, 63, 0, 65, 0, 100, 33, 150}, 136, 4, true},  // sequences that begin anywhere in a thread's rows
      {{7, 600}, 20, 3, true},
      {{2050, 0, 9, 30}, 136, 4, false, true, 272},
  };
  return cases;
}

struct CausalConv1dBenchCase {
  int64_t sequences, tokens, channels;
  DType dtype;  // of x and weight
  bool channels_contiguous;
};

// Qwen3.5-0.8B: 2 * 16 * 128 + 16 * 128 channels.
inline constexpr CausalConv1dBenchCase kCausalConv1dBenchCases[] = {
    {1, 1, 6144, DType::kF32, true},  {1, 1, 6144, DType::kBF16, true},  {1, 1, 6144, DType::kBF16, false},
    {5, 1, 6144, DType::kBF16, true}, {1, 512, 6144, DType::kF32, true}, {1, 512, 6144, DType::kBF16, true},
};

}  // namespace sluice
