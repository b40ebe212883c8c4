// Shapes for the test and the bench.
#pragma once

#include <cstdint>
#include <vector>

namespace sluice {

struct ChunkTableCase {
  std::vector<int64_t> lengths, starts;
};

inline const std::vector<ChunkTableCase>& chunk_table_cases() {
  static const std::vector<ChunkTableCase> cases = {
      {{}, {}},
      {{0}, {5}},
      {{1}, {0}},
      {{1, 1, 1, 1}, {0, 63, 64, 1000003}},
      {{63, 64, 65, 64}, {0, 0, 0, 1}},
      {{0, 2, 0, 0, 128, 0}, {7, 63, 64, 0, 63, 1}},
      {{100000}, {37}},
  };
  return cases;
}

struct ChunkTableBenchCase {
  int64_t sequences, tokens;  // tokens of each
};

inline constexpr ChunkTableBenchCase kChunkTableBenchCases[] = {{1, 8192}, {32, 256}, {256, 1}, {4096, 4}};

}  // namespace sluice
