// Row by row: a row at a multiple of 64, or a sequence's first one, begins a chunk.
#include "ops/chunk_table/forms.h"

namespace sluice {

Status chunk_table_reference(Context&, const ChunkTableArgs& a, std::byte*) {
  const auto* cu = a.cu_seqlens.as<int32_t>();
  auto *offsets = a.offsets.as<int32_t>(), *chunks = a.chunks.as<int32_t>();
  int32_t total = 0;
  for (int64_t b = 0; b + 1 < a.cu_seqlens.shape[0]; ++b) {
    const int64_t start = a.start.present() ? a.start.as<int32_t>()[b] : 0;
    offsets[b] = total;
    for (int64_t r = 0; r < cu[b + 1] - cu[b]; ++r) {
      if (r > 0 && (start + r) % ChunkTableArgs::kChunk != 0) continue;
      chunks[2 * total] = int32_t(b), chunks[2 * total + 1] = total - offsets[b];
      ++total;
    }
    if (a.counts.present()) a.counts.as<int32_t>()[b] = total - offsets[b];
  }
  offsets[a.cu_seqlens.shape[0] - 1] = total;
  for (int64_t i = total; i < a.chunks.shape[0]; ++i) chunks[2 * i] = chunks[2 * i + 1] = -1;
  return {};
}

}  // namespace sluice
