// The paged cache of the sparse-attention indexer's keys: what indexer_prepare writes and index_logits reads. No operator.
//
//   page = [tokens x 128 e4m3][tokens x fp32 scale]      132 bytes a token, a power of two of tokens a page
//
// Token `loc` is number loc % tokens of page loc / tokens; a code times its token's scale is what it stands for.
#pragma once

#include <bit>

#include "core/check.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr int64_t kIndexDim = 128, kIndexScaleBytes = 4, kIndexTokenBytes = kIndexDim + kIndexScaleBytes;

// Where a token's bytes are in a cache [pages, tokens * 132] u8, whose pages may lie further apart. Offsets from its data, in
// bytes.
struct IndexCacheLayout {
  int64_t slots = 0;  // tokens of all pages
  int64_t page_stride = 0;
  int page_shift = 0;  // log2 of the tokens of a page

  IndexCacheLayout() = default;
  explicit IndexCacheLayout(const Tensor& cache)
      : page_stride(cache.stride[0]), page_shift(std::countr_zero(uint64_t(cache.shape[1] / kIndexTokenBytes))) {
    slots = cache.shape[0] << page_shift;
  }

  constexpr bool holds(int64_t loc) const { return loc >= 0 && loc < slots; }
  constexpr int64_t in_page(int64_t loc) const { return loc & ((int64_t(1) << page_shift) - 1); }
  constexpr int64_t codes(int64_t loc) const { return (loc >> page_shift) * page_stride + in_page(loc) * kIndexDim; }
  constexpr int64_t scale(int64_t loc) const {
    return (loc >> page_shift) * page_stride + (kIndexDim << page_shift) + in_page(loc) * kIndexScaleBytes;
  }
};

inline void check_index_cache(ArgCheck& c, const char* name, const Tensor& cache) {
  c.rank(name, cache, 2, 2).dtype(name, cache, {DType::kU8}).inner_contiguous(name, cache);
  const int64_t tokens = cache.shape[1] / kIndexTokenBytes;
  c.that(cache.shape[1] % kIndexTokenBytes == 0 && std::has_single_bit(uint64_t(tokens)),
         "the index cache's pages must have a power of two of tokens, 132 bytes each");
  c.that(reinterpret_cast<uintptr_t>(cache.data) % kIndexScaleBytes == 0 && cache.stride[0] % kIndexScaleBytes == 0,
         "the index cache's pages must begin at multiples of 4 bytes");
}

}  // namespace sluice
