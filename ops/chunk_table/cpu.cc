#include "ops/chunk_table/count.h"
#include "ops/chunk_table/forms.h"

namespace sluice {

Status chunk_table_cpu(Context&, const ChunkTableArgs& a, std::byte*) {
  const auto *cu = a.cu_seqlens.as<int32_t>(), *start = a.start.present() ? a.start.as<int32_t>() : nullptr;
  auto *offsets = a.offsets.as<int32_t>(), *chunks = a.chunks.as<int32_t>();
  const int64_t B = a.cu_seqlens.shape[0] - 1;
  int32_t total = 0;
  for (int64_t b = 0; b < B; ++b) {
    const int32_t n = chunks_touched(start ? start[b] : 0, cu[b + 1] - cu[b]);
    offsets[b] = total;
    if (a.counts.present()) a.counts.as<int32_t>()[b] = n;
    for (int32_t c = 0; c < n; ++c, ++total) chunks[2 * total] = int32_t(b), chunks[2 * total + 1] = c;
  }
  offsets[B] = total;
  for (int64_t i = total; i < a.chunks.shape[0]; ++i) chunks[2 * i] = chunks[2 * i + 1] = -1;
  return {};
}

}  // namespace sluice
