#include <algorithm>

#include "core/rows.h"
#include "ops/conv_tail/forms.h"
#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {

Status conv_tail_reference(Context&, const ConvTailArgs& a, std::byte*) {
  const int64_t kept = a.tail.dim(1), R = a.conv_ring.dim(1);
  const int64_t channels = a.tail.dim(2);
  const int32_t *cu = a.cu_seqlens.as<int32_t>(), *starts = a.start.as<int32_t>(), *slots = a.slots.as<int32_t>();
  for (int64_t b = 0; b < a.start.dim(0); ++b) {
    const int64_t start = starts[b], rows = cu[b + 1] - cu[b], end = (start + rows) / kChunk * kChunk;
    if (slots[b] < 0 || end == 0 || end < start || (end == start && rows > 0)) continue;
    const Tensor ring = a.conv_ring[slots[b]], tail = a.tail[slots[b]];
    for (int64_t i = 0; i < kept; ++i) {
      const int64_t p = end - kept + i;
      const Tensor from = p < start ? ring[p % R] : a.qkv[cu[b] + p - start];
      visit_float(from, [&]<class X>(X*) { std::copy_n(from.as<X>(), channels, tail[i].as<float>()); });
    }
  }
  return {};
}

}  // namespace sluice
