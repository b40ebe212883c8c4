// What all forms share; constexpr, so kernels call it too.
#pragma once

#include "ops/chunk_table/chunk_table.h"

namespace sluice {

// Chunks that `rows` rows from position `start` on touch.
constexpr int32_t chunks_touched(int32_t start, int32_t rows) {
  constexpr int32_t kChunk = ChunkTableArgs::kChunk;
  return rows > 0 ? (start % kChunk + (rows - 1)) / kChunk + 1 : 0;
}

}  // namespace sluice
