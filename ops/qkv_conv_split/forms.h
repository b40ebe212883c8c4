// The implementations, one a file.
#pragma once

#include "ops/qkv_conv_split/qkv_conv_split.h"

namespace sluice {

Status qkv_conv_split_reference(Context&, const QkvConvSplitArgs&, std::byte*);
Status qkv_conv_split_cpu(Context&, const QkvConvSplitArgs&, std::byte*);
Status qkv_conv_split_avx2(Context&, const QkvConvSplitArgs&, std::byte*);
Status qkv_conv_split_avx512(Context&, const QkvConvSplitArgs&, std::byte*);
Status qkv_conv_split_cuda(Context&, const QkvConvSplitArgs&, std::byte*);

// How many heads of `dim` channels go together: about 512 channels, 2 KiB of an fp32 row. (One head of 128 at a time is 2.5 times
// slower in prefill: rows lie a multiple of 4 KiB apart, and short runs defeat the prefetchers.)
__attribute__((always_inline)) inline int64_t heads_per_group(int64_t dim) { return dim < 512 ? 512 / (dim > 0 ? dim : 1) : 1; }

// Scratch of the vector forms: each thread's transposed taps, in rows of so many floats; every head begins at a whole vector.
__attribute__((always_inline)) inline int64_t staged_taps_pitch(const QkvConvSplitArgs& a) {
  const int64_t K = a.q.shape[2], V = a.v.shape[2];
  const int64_t keys = heads_per_group(K) * ((K + 15) / 16), values = heads_per_group(V) * ((V + 15) / 16);
  return 16 * (keys > values ? keys : values);
}

}  // namespace sluice
