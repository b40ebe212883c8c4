// Where keys lie and which of them a token sees: what every form, on a CPU or a GPU, shares.
#pragma once

#include <bit>
#include <cstddef>

#include "core/simd_plain.h"
#include "ops/index_logits/index_logits.h"

namespace sluice {

inline constexpr int64_t kScaleBytes = 4;  // of a key in the cache

// Plain data, passed to kernels by value. Keys are those of one matrix, or of pages: codes, then scales.
struct IndexKeys {
  const std::byte* codes;  // of key 0, or of page 0
  int64_t row_bytes;       // from key to key
  const float* scales;     // may be null; of one matrix
  const int32_t* table;    // null: one matrix
  int64_t table_stride;    // elements
  int64_t page_bytes;      // from page to page
  int64_t scales_in_page;  // bytes in front of a page's scales
  int page_bits, in_page;  // of a key's number: in_page masks what lies below page_bits

  SLUICE_INLINE explicit IndexKeys(const IndexLogitsArgs& a) {
    const Tensor& t = a.cache.rank ? a.cache : a.k;
    const int64_t size = int64_t(dtype_size(a.q.dtype)), dim = a.q.shape[2];
    codes = static_cast<const std::byte*>(t.data);
    row_bytes = a.cache.rank ? dim : a.k.stride[0] * size;
    scales = static_cast<const float*>(a.k_scale.data);
    table = static_cast<const int32_t*>(a.block_table.data), table_stride = a.block_table.stride[0];
    page_bytes = a.cache.stride[0], scales_in_page = a.page_size * dim;
    page_bits = a.page_size > 0 ? std::countr_zero(uint64_t(a.page_size)) : 0, in_page = int(a.page_size - 1);
  }
  SLUICE_INLINE constexpr int32_t page_of(int64_t sequence, int64_t key) const {
    return table ? table[sequence * table_stride + (key >> page_bits)] : 0;
  }
  // Of a key that lies in this page.
  SLUICE_INLINE constexpr const std::byte* row(int32_t page, int64_t key) const {
    return table ? codes + page * page_bytes + (key & in_page) * row_bytes : codes + key * row_bytes;
  }
  // Null: 1.
  SLUICE_INLINE constexpr const float* scale(int32_t page, int64_t key) const {
    if (!table) return scales ? scales + key : nullptr;
    return reinterpret_cast<const float*>(codes + page * page_bytes + scales_in_page + (key & in_page) * kScaleBytes);
  }
};

// The keys [begin, end) that a token sees.
struct KeyRange {
  int64_t begin, end;
};

struct IndexLogits {
  IndexKeys keys;
  const std::byte* q;
  int64_t q_row, q_head;  // bytes
  const float* weights;
  int64_t weights_row;
  const int32_t *begin, *end, *lens;
  int64_t lens_row;    // from sequence to sequence
  bool lens_of_token;  // of each, not of the last of a sequence
  float* logits;
  int64_t tokens, heads, width, logits_row, next_n;
  bool clean;

  SLUICE_INLINE explicit IndexLogits(const IndexLogitsArgs& a)
      : keys(a),
        q(static_cast<const std::byte*>(a.q.data)),
        q_row(a.q.stride[0] * int64_t(dtype_size(a.q.dtype))),
        q_head(a.q.stride[1] * int64_t(dtype_size(a.q.dtype))),
        weights(static_cast<const float*>(a.weights.data)),
        weights_row(a.weights.stride[0]),
        begin(static_cast<const int32_t*>(a.k_begin.data)),
        end(static_cast<const int32_t*>(a.k_end.data)),
        lens(static_cast<const int32_t*>(a.context_lens.data)),
        lens_row(a.context_lens.stride[0]),
        lens_of_token(a.context_lens.rank == 2),
        logits(static_cast<float*>(a.logits.data)),
        tokens(a.q.shape[0]),
        heads(a.q.shape[1]),
        width(a.logits.shape[1]),
        logits_row(a.logits.stride[0]),
        next_n(a.block_table.rank && a.block_table.shape[0] ? a.q.shape[0] / a.block_table.shape[0] : 1),
        clean(a.clean) {}

  SLUICE_INLINE constexpr int64_t sequence(int64_t token) const { return token / next_n; }
  SLUICE_INLINE constexpr KeyRange seen(int64_t token) const {
    int64_t first = begin ? begin[token] : 0, last = end ? end[token] : width;
    if (lens) {
      const int64_t b = token / next_n, n = token % next_n;
      last = lens_of_token ? lens[b * lens_row + n] : lens[b * lens_row] - next_n + 1 + n;
    }
    if (first < 0) first = 0;
    if (last > width) last = width;
    return {first, last < first ? first : last};
  }
};

}  // namespace sluice
