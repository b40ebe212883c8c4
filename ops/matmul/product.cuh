// A call as the kernels see it, and the order of a sum of bf16 products that they share: K is cut into at most 16 segments, whose
// sums are made one block of 32 elements after the other and then added in order. A block is two matrix instructions; a thread has
// 8 neighbouring elements, 16 bytes, of each of its rows of x and w, four for each instruction. What an output is depends on K
// alone, in whichever kernel and tile it is computed.
#pragma once

#include <algorithm>

#include "base/checked.h"
#include "core/alignment.h"
#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"
#include "ops/matmul/forms.h"

namespace sluice::cuda {

// Strides in elements.
struct Product {
  const void *w, *x;
  void* y;
  int64_t w_row, x_row, y_row;
  int64_t rows, columns, depth;  // M, N, K
  bool y_is_bf16, pairs;         // whether y takes two neighbours at once

  explicit Product(const MatmulArgs& a)
      : w(a.w.data),
        x(a.x.data),
        y(a.y.data),
        w_row(a.w.stride[0]),
        x_row(a.x.stride[0]),
        y_row(a.y.stride[0]),
        rows(a.x.shape[0]),
        columns(a.w.shape[0]),
        depth(a.x.shape[1]),
        y_is_bf16(a.y.dtype == DType::kBF16),
        pairs(rows_aligned(a.y, 2 * int64_t(dtype_size(a.y.dtype)))) {}

  __device__ void put(int64_t row, int64_t column, float value) const {
    const int64_t at = row * y_row + column;
    if (y_is_bf16) static_cast<Bf16*>(y)[at] = from_float<Bf16>(value);
    else static_cast<float*>(y)[at] = value;
  }
  // Two neighbours, the first at an even column; at once where y's rows begin at pairs.
  __device__ void put_pair(int64_t row, int64_t column, float first, float second) const {
    if (pairs && column + 1 < columns) {
      const int64_t at = row * y_row + column;
      if (y_is_bf16) *reinterpret_cast<uint32_t*>(static_cast<Bf16*>(y) + at) = ptx::pack_bf16(first, second);
      else *reinterpret_cast<float2*>(static_cast<float*>(y) + at) = make_float2(first, second);
    } else {
      if (column < columns) put(row, column, first);
      if (column + 1 < columns) put(row, column + 1, second);
    }
  }
};

inline constexpr int kSegments = 16, kBlock = 32;  // of K; elements of K in a block
inline constexpr int kStage = 2 * kBlock;          // that are copied together: 128 bytes of a row

// K in blocks; all segments have one length, an even one, but the last.
struct Segments {
  int blocks, length, count;

  explicit Segments(int64_t depth)
      : blocks(int(ceil_div(depth, kBlock))),
        length(2 * std::max(1, int(ceil_div(depth, kSegments * kStage)))),
        count(int(ceil_div(blocks, length))) {}
};

// sum[16 rows of x, 8 of w] += a block: a thread's row lane / 4 of x, that and 8, and row lane / 4 of w.
__device__ inline void multiply_block(float (&sum)[4], const uint4& x, const uint4& x_below, const uint4& w) {
  const uint32_t first[4] = {x.x, x_below.x, x.y, x_below.y}, second[4] = {x.z, x_below.z, x.w, x_below.w};
  ptx::mma_m16n8k16_bf16(sum, first, w.x, w.y);
  ptx::mma_m16n8k16_bf16(sum, second, w.z, w.w);
}

}  // namespace sluice::cuda
