// What every form, on a CPU or a GPU, reads of a row's arguments and writes for an index of its set.
#pragma once

#include <bit>
#include <cstdint>

#include "core/simd_plain.h"
#include "ops/index_topk/index_topk.h"

namespace sluice {

// A score's key: an unsigned number, larger for what comes first. 0 is no score's: it fills what lies behind a row.
inline constexpr uint32_t kNoScore = 0, kKeyOfNaN = 1;

SLUICE_INLINE constexpr uint32_t score_key(float score) {
  if (score != score) return kKeyOfNaN;
  const uint32_t sign = 0x80000000u, bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 + 0 is 0
  return bits & sign ? ~bits : bits | sign;
}

// Plain data, passed to kernels by value; strides in elements.
struct TopkRows {
  const float* scores;
  int64_t rows, columns, stride;
  const int32_t *row_starts, *lengths;  // may be null
  const int32_t *page_table, *offsets;  // may be null
  int64_t pages, page_table_stride, page_size;
  int32_t* out;
  int64_t k, out_stride;

  SLUICE_INLINE explicit TopkRows(const IndexTopkArgs& a)
      : scores(static_cast<const float*>(a.scores.data)),
        rows(a.scores.shape[0]),
        columns(a.scores.shape[1]),
        stride(a.scores.stride[0]),
        row_starts(static_cast<const int32_t*>(a.row_starts.data)),
        lengths(static_cast<const int32_t*>(a.lengths.data)),
        page_table(static_cast<const int32_t*>(a.page_table.data)),
        offsets(static_cast<const int32_t*>(a.offsets.data)),
        pages(a.page_table.shape[1]),
        page_table_stride(a.page_table.stride[0]),
        page_size(a.page_size),
        out(static_cast<int32_t*>(a.out.data)),
        k(a.out.shape[1]),
        out_stride(a.out.stride[0]) {}

  SLUICE_INLINE constexpr int64_t start(int64_t row) const {
    const int64_t start = row_starts ? row_starts[row] : 0;
    return start < 0 || start > columns ? columns : start;
  }
  SLUICE_INLINE constexpr int64_t length(int64_t row) const {
    const int64_t most = columns - start(row), length = lengths ? lengths[row] : most;
    return length < 0 ? 0 : length < most ? length : most;
  }
  SLUICE_INLINE constexpr const float* scores_of(int64_t row) const { return scores + row * stride + start(row); }

  // What is written for index i of a row; -1 for -1.
  SLUICE_INLINE constexpr int32_t entry(int64_t row, int64_t i) const {
    if (i < 0) return -1;
    if (offsets) return int32_t(i + offsets[row]);
    if (!page_table) return int32_t(i);
    const uint32_t number = uint32_t(i) / uint32_t(page_size), in_page = uint32_t(i) % uint32_t(page_size);
    const int32_t page = number < uint64_t(pages) ? page_table[row * page_table_stride + number] : -1;
    return page < 0 ? -1 : int32_t(page * page_size + in_page);
  }
  SLUICE_INLINE constexpr void put(int64_t row, int64_t slot, int64_t i) const { out[row * out_stride + slot] = entry(row, i); }
  // A slot of a row that has no more scores than slots.
  SLUICE_INLINE constexpr void put_whole_row(int64_t row, int64_t slot, int64_t length) const {
    put(row, slot, slot < length ? slot : -1);
  }
};

}  // namespace sluice
