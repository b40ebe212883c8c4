// Tiles of bf16 in shared memory for mma.m16n8k16, and the running softmax on its fragments: what the MLA operators' kernels share.
//
// A tile's rows are kChunks chunks of 16 bytes without gaps; chunk c of row r lies at c ^ (r % 8), so that eight rows of a column
// of chunks, which one ldmatrix reads, lie in different banks. kChunks is a multiple of 8.
#pragma once

#include <cmath>

#include "core/cuda/ptx.h"

namespace sluice::cuda {

template <int kChunks>
struct Tile {
  static_assert(kChunks % 8 == 0);
  static constexpr int kRowBytes = kChunks * 16;
  uint32_t address;  // in shared memory

  __device__ uint32_t at(int row, int chunk) const { return address + uint32_t(row * kRowBytes + ((chunk ^ (row & 7)) << 4)); }

  // Rows [row, row + 16), elements [16 k, 16 k + 16), as the first operand.
  __device__ void load_a(uint32_t (&a)[4], int row, int k, int lane) const {
    ptx::ldmatrix_x4(a, at(row + lane % 16, 2 * k + lane / 16));
  }
  // Rows [row, row + 16) as 16 columns of the second operand, elements [16 k, 16 k + 16) summed over: b[0], b[1] of the first 8
  // columns, b[2], b[3] of the others.
  __device__ void load_b(uint32_t (&b)[4], int row, int k, int lane) const {
    ptx::ldmatrix_x4(b, at(row + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
  }
  // 8 rows as columns, elements [32 k, 32 k + 32): b[0], b[1] of the first 16 elements, b[2], b[3] of the others.
  __device__ void load_b_8(uint32_t (&b)[4], int row, int k, int lane) const {
    ptx::ldmatrix_x4(b, at(row + lane % 8, 4 * k + lane / 8));
  }
  // Rows [16 k, 16 k + 16) summed over, elements [8 chunk, 8 chunk + 16) as columns; as load_b.
  __device__ void load_b_transposed(uint32_t (&b)[4], int k, int chunk, int lane) const {
    ptx::ldmatrix_x4_trans(b, at(16 * k + lane % 16, chunk + lane / 16));
  }
};

// The maximum over the four threads that hold a row of an accumulator.
__device__ inline float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// A row's maximum in units of log2, without a difference of infinities.
__device__ inline float shift_of(float most) { return most == -INFINITY ? 0 : most; }

// log2 of a sum of weights under a maximum; -inf of none.
__device__ inline float log2_of(float most, float total) { return total == 0 ? -INFINITY : most + log2f(total); }
__device__ inline float inverse_of(float total) { return total == 0 ? 0 : 1 / total; }

}  // namespace sluice::cuda
