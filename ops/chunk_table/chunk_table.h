// chunk_table: which chunks of 64 positions the sequences of a call touch; what a chunked kernel needs to know where its work lies.
//
// The grid of chunks is absolute: chunk c of a sequence holds positions [64 c, 64 c + 64), so a sequence that starts at position s
// and brings n rows touches chunks s / 64 to (s + n - 1) / 64, and none without rows.
//
//   counts[b]   = chunks that sequence b touches
//   offsets[b]  = counts[0] + ... + counts[b - 1]; offsets[B] is their total
//   chunks[i]   = (b, c) for i in [offsets[b], offsets[b + 1]): sequence, and chunk counted from the first that it touches
//                 (position 64 (start[b] / 64 + c)); (-1, -1) from the total on
//
// A sequence touches at most n / 64 + 2 chunks, so T / 64 + 2 B rows of `chunks` are enough, and kernels can be launched over all
// of them without knowing the total.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct ChunkTableArgs {
  static constexpr int64_t kChunk = 64;  // positions

  Tensor cu_seqlens;  // [B+1] i32: rows of sequence b are [cu[b], cu[b+1]), which lie within [0, rows]
  Tensor start;       // optional [B] i32, 0 or more: position of the sequence's first row; absent: 0
  Tensor counts;      // optional [B] i32
  Tensor offsets;     // [B+1] i32
  Tensor chunks;      // [M, 2] i32, dense, M >= rows / 64 + 2 B
  int64_t rows = 0;   // T, an upper limit of cu[B] that is known without reading cu_seqlens
};

template <class F>
void each_tensor(ChunkTableArgs& a, F&& f) {
  f(a.cu_seqlens), f(a.start), f(a.counts), f(a.offsets), f(a.chunks);
}

// Rows of `chunks` that are always enough.
constexpr int64_t chunk_table_rows(int64_t rows, int64_t sequences) { return rows / ChunkTableArgs::kChunk + 2 * sequences; }

Status check_chunk_table(const ChunkTableArgs& a);
std::span<const Impl<ChunkTableArgs>> chunk_table_impls();
Status chunk_table(Context& ctx, const ChunkTableArgs& a);

}  // namespace sluice
