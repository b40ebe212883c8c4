// The tensor-core form for compute capability 8.0 and up: what its two kernels share.
//
// A sequence is cut into pieces of up to 64 rows, at multiples of 64 tokens and at the last multiple of R. A first kernel makes of
// every piece and value head, all at once, what does not depend on the state: with G summed from the piece's begin,
//
//   T' = (I + L)^-1 diag(beta),  L_ij = beta_i e^{G_i-G_j} k_i.k_j (j < i);   P T',  P_ij = scale e^{G_i-G_j} q_i.k_j (j <= i)
//
// A second one goes through the pieces with S in registers:
//
//   W = V - e^G K S,  U = T' W,  O = scale e^G Q S + P T' W,  S <- e^{G_last} S + K^T diag(e^{G_last-G}) U
//
// (Yang et al., "Gated Delta Networks", 2024, section 3.3; O without U, so that rows of U that cancel need not do so after
// rounding). k and q stay as they came: their norms go into the factors beside them. T', P, P T' and W are fp16, which has three
// bits more than bf16 and range enough (|T'| <= 2); S, U and the inputs are bf16 operands; sums are fp32.
#pragma once

#include "ops/gdn_prefill/cuda.cuh"

namespace sluice::gdn::gpu::mma {

namespace ptx = cuda::ptx;
using cuda::LaunchShape;
using prefill::Call;
using prefill::Extent;

inline constexpr int kRows = 64;  // of a piece
inline constexpr int kWarps = 4;
inline constexpr int kThreads = kWarps * kWarp;

// What the first kernel leaves for the second, of one piece and value head.
struct Factors {
  uint16_t solve[kRows * kRows];   // T', fp16
  uint16_t attend[kRows * kRows];  // P T', fp16; above the diagonal's 16x16 blocks not written
  float known[kRows];              // e^{G_i} / |k_i|
  float seen[kRows];               // scale e^{G_i} / |q_i|
  float closing[kRows];            // e^{G_last - G_i} / |k_i|
  float decay;                     // e^{G_last}
  float unused[kRows - 1];
};

// Rows [t, t + count) of the call.
struct Piece {
  int64_t t;
  int count;
};

// How a sequence is cut. Pieces of all sequences have numbers of their own, with gaps, that follow from cu_seqlens alone.
struct Cut {
  int64_t begin, end, start, last;  // rows of the call; tokens before it; the position of S when it returns
  int first, pieces;

  __device__ Cut(const Extent& x, int b, int R) : begin(x.begin), end(x.end), start(x.start) {
    const int64_t stop = start + end - begin;
    last = max(start, stop / R * R);
    first = int(begin / kRows) + kMostExtra * b;
    blocks_ = begin == end ? 0 : int((stop + kRows - 1) / kRows - start / kRows);
    split_ = blocks_ > 0 && last > block_begin(blocks_ - 1) && last < stop;
    pieces = blocks_ + split_;
  }
  __device__ Piece piece(int i) const {
    const int64_t stop = start + end - begin;
    int64_t from = block_begin(i), to = min(stop, block_begin(i + 1));
    if (split_ && i == blocks_) from = last, to = stop;
    else if (split_ && i == blocks_ - 1) to = last;
    return {begin + from - start, int(to - from)};
  }

  // Pieces more than rows / 64 that a sequence may have, and one for what rounding its first number down loses.
  static constexpr int kMostExtra = 4;
  static int64_t bound(int64_t T, int64_t B) { return T / kRows + kMostExtra * B; }

 private:
  __device__ int64_t block_begin(int i) const { return i == 0 ? start : (start / kRows + i) * kRows; }
  int blocks_;
  bool split_;
};

// A tile of rows of `Bytes` in shared memory, 16-byte chunks placed so that eight rows of one chunk, and eight chunks of a row, are
// 32 banks.
template <int Bytes>
struct TileAddress {
  uint32_t base;
  __device__ explicit TileAddress(const void* p) : base(ptx::shared_address(p)) {}
  static __device__ int offset(int row, int chunk) { return row * Bytes + ((chunk ^ (row & 7)) << 4); }

  // Two 16x16 squares' worth of fragments: the second operand's [n = 16 rows][k = 16 columns], rows along k.
  __device__ void load(uint32_t (&b)[4], int row, int chunk) const {
    const int lane = threadIdx.x % kWarp;
    ptx::ldmatrix_x4(b, base + offset(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2));
  }
  // The first operand's [16 rows][16 columns], and the second's from rows along n.
  __device__ void load_left(uint32_t (&a)[4], int row, int chunk) const {
    const int lane = threadIdx.x % kWarp;
    ptx::ldmatrix_x4(a, base + offset(row + lane % 16, chunk + lane / 16));
  }
  __device__ void load_transposed(uint32_t (&b)[4], int row, int chunk) const {
    const int lane = threadIdx.x % kWarp;
    ptx::ldmatrix_x4_trans(b, base + offset(row + lane % 16, chunk + lane / 16));
  }
  // The transposed tile as first operand: [16 columns][16 rows].
  __device__ void load_left_transposed(uint32_t (&a)[4], int row, int chunk) const {
    const int lane = threadIdx.x % kWarp;
    ptx::ldmatrix_x4_trans(a, base + offset(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2));
  }
};

// Starts copying `count` rows of `Bytes` into a tile, and zeros behind them.
template <int Bytes>
__device__ void copy_rows(char* tile, const void* from, int64_t row_stride_bytes, int count) {
  constexpr int kChunks = Bytes / 16,
                kStep = kThreads / kChunks;  // rows a turn: a multiple of 8, so that a thread's chunk stays in place
  static_assert(kStep % 8 == 0);
  const int row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
  char* to = tile + TileAddress<Bytes>::offset(row, chunk);
  const char* at = static_cast<const char*>(from) + row * row_stride_bytes + chunk * 16;
#pragma unroll
  for (int i = 0; i < kRows / kStep; ++i, at += kStep * row_stride_bytes) {
    const bool there = row + i * kStep < count;
    __pipeline_memcpy_async(to + i * kStep * Bytes, there ? at : from, 16, there ? 0 : 16);
  }
}

__device__ inline const Bf16* row_of(const CallRows& x, int64_t t, int head) {
  return static_cast<const Bf16*>(x.data) + t * x.row_stride + head * x.head_stride;
}

}  // namespace sluice::gdn::gpu::mma
