// Copies of heads: a unit of work is one head in a tile of rows. Where columns are contiguous, rows are copied in the widest words
// that all addresses allow; where they are not (a transposed view), squares of elements are transposed in registers.
#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "ops/qkv_split/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kMaxPieces = 6;  // q, k, v, z, b, a

// One output and where its elements come from; strides in elements.
struct Piece {
  const void* from;
  void* to;
  int64_t from_row, from_column, to_row, to_head;
  int heads, dim, per_block, pitch;  // `per_block` heads lie side by side, the next ones `pitch` columns on
  int word;                          // bytes of the widest word for all rows, where columns are contiguous
  bool wide_from, wide_to;           // 16-byte accesses along the input's rows dimension, and along the output's heads

  __device__ int64_t column(int head) const { return int64_t(head / per_block) * pitch + head % per_block * dim; }
};

struct Pieces {
  Piece piece[kMaxPieces];
  int count = 0, units = 0;  // units: all heads
  int64_t rows = 0;

  void add(const Tensor& from, int64_t at, const Tensor& to, Piece p) {
    if (!to.present() || p.heads * p.dim == 0) return;
    const int64_t size = int64_t(dtype_size(from.dtype));
    p.from = static_cast<const char*>(from.data) + at * from.stride[1] * size;
    p.to = to.data;
    p.from_row = from.stride[0], p.from_column = from.stride[1], p.to_row = to.stride[0];
    p.to_head = to.rank == 3 ? to.stride[1] : p.dim;  // b and a have heads side by side
    const auto in = int64_t(reinterpret_cast<uintptr_t>(p.from)), out = int64_t(reinterpret_cast<uintptr_t>(p.to));
    const int64_t bits = in | out | (p.from_row | p.to_row | p.to_head | p.dim | p.pitch) * size | 16;
    p.word = int(bits & -bits);
    p.wide_from = p.from_row == 1 && (in | p.from_column * size) % 16 == 0;
    p.wide_to = (out | (p.to_row | p.to_head) * size) % 16 == 0;
    piece[count++] = p, units += p.heads;
  }
};

Pieces pieces_of(const QkvSplitArgs& s) {
  const int HK = int(s.q.shape[1]), K = int(s.q.shape[2]), HV = int(s.v.shape[1]), V = int(s.v.shape[2]);
  Pieces p;
  p.rows = s.mixed.shape[0];
  if (s.layout == QkvLayout::kConcatenated) {
    const int values = HV * V, at_v = 2 * HK * K, at_b = at_v + 2 * values;
    p.add(s.mixed, 0, s.q, {.heads = HK, .dim = K, .per_block = HK});
    p.add(s.mixed, HK * K, s.k, {.heads = HK, .dim = K, .per_block = HK});
    p.add(s.mixed, at_v, s.v, {.heads = HV, .dim = V, .per_block = HV});
    p.add(s.mixed, at_v + values, s.z, {.heads = HV, .dim = V, .per_block = HV});
    p.add(s.mixed, at_b, s.b, {.heads = 1, .dim = HV, .per_block = 1});
    p.add(s.mixed, at_b + HV, s.a, {.heads = 1, .dim = HV, .per_block = 1});
    return p;
  }
  const int r = HV / HK, pitch = 2 * K + 2 * r * V;
  p.add(s.mixed, 0, s.q, {.heads = HK, .dim = K, .per_block = 1, .pitch = pitch});
  p.add(s.mixed, K, s.k, {.heads = HK, .dim = K, .per_block = 1, .pitch = pitch});
  p.add(s.mixed, 2 * K, s.v, {.heads = HV, .dim = V, .per_block = r, .pitch = pitch});
  p.add(s.mixed, 2 * K + r * V, s.z, {.heads = HV, .dim = V, .per_block = r, .pitch = pitch});
  p.add(s.ba, 0, s.b, {.heads = HK, .dim = r, .per_block = 1, .pitch = 2 * r});
  p.add(s.ba, r, s.a, {.heads = HK, .dim = r, .per_block = 1, .pitch = 2 * r});
  return p;
}

// The head that a block copies, and the first element of it in row 0.
struct Unit {
  const Piece* piece;
  int64_t from, to;

  __device__ Unit(const Pieces& p, int unit) : piece(p.piece) {
    while (unit >= piece->heads) unit -= piece++->heads;
    from = piece->column(unit) * piece->from_column, to = unit * piece->to_head;
  }
};

// --- contiguous columns
// --------------------------------------------------------------------------------------------------------------

constexpr int kCopyThreads = 256, kCopyRows = 4;  // rows of a thread, for loads in flight

// Rows [begin, end) of one head, in words.
template <class Word>
__device__ void copy_head(const Unit& u, int64_t begin, int64_t end, int size) {
  const int words = u.piece->dim * size / int(sizeof(Word));
  const char* from = static_cast<const char*>(u.piece->from) + u.from * size;
  char* to = static_cast<char*>(u.piece->to) + u.to * size;
  const int64_t from_row = u.piece->from_row * size, to_row = u.piece->to_row * size;
  int lanes = 0;  // log2 of the threads of a row
  while (1 << lanes < min(words, kCopyThreads)) ++lanes;
  const int step = kCopyThreads >> lanes;
#pragma unroll 1
  for (int w = int(threadIdx.x) & ((1 << lanes) - 1); w < words; w += 1 << lanes)
#pragma unroll 1
    for (int64_t t = begin + (threadIdx.x >> lanes); t < end; t += kCopyRows * step) {
      Word x[kCopyRows];
#pragma unroll
      for (int i = 0; i < kCopyRows; ++i)
        if (t + i * step < end) x[i] = reinterpret_cast<const Word*>(from + (t + i * step) * from_row)[w];
#pragma unroll
      for (int i = 0; i < kCopyRows; ++i)
        if (t + i * step < end) reinterpret_cast<Word*>(to + (t + i * step) * to_row)[w] = x[i];
    }
}

__global__ void __launch_bounds__(kCopyThreads, 5)
    qkv_split_copy_kernel(const __grid_constant__ Pieces p, int size, int tile_rows) {
  cuda::wait_for_previous_kernel();
  const Unit unit(p, int(blockIdx.x % p.units));
  const int64_t begin = int64_t(blockIdx.x / p.units) * tile_rows, end = min(begin + tile_rows, p.rows);
  switch (unit.piece->word) {
    case 16:
      return copy_head<uint4>(unit, begin, end, size);
    case 8:
      return copy_head<uint2>(unit, begin, end, size);
    case 4:
      return copy_head<uint32_t>(unit, begin, end, size);
    default:
      return copy_head<uint16_t>(unit, begin, end, size);
  }
}

// --- other columns
// -------------------------------------------------------------------------------------------------------------------

constexpr int kTransposeThreads = 128;
constexpr int kTileRows = 64;  // 128 bytes of a column of 16-bit elements

// A square of elements: as many rows and columns as 16 bytes hold.
template <class E>
struct Square {
  static constexpr int kSide = 16 / int(sizeof(E));
  uint4 line[kSide];

  __device__ E get(int line_index, int i) const { return reinterpret_cast<const E*>(&line[line_index])[i]; }
  __device__ void set(int line_index, int i, E e) { reinterpret_cast<E*>(&line[line_index])[i] = e; }
};

// Lines of memory `pitch` elements apart whose elements lie `step` apart; what is beyond `lines` and `length` is left out.
template <class E>
__device__ void read_square(Square<E>& x, const E* from, int64_t pitch, int64_t step, int lines, int length, bool wide) {
  constexpr int kSide = Square<E>::kSide;
#pragma unroll
  for (int l = 0; l < kSide; ++l) {
    if (wide && length >= kSide && l < lines) {
      x.line[l] = *reinterpret_cast<const uint4*>(from + l * pitch);
      continue;
    }
#pragma unroll
    for (int i = 0; i < kSide; ++i) x.set(l, i, l < lines && i < length ? from[l * pitch + i * step] : E{});
  }
}

template <class E>
__device__ void write_square(const Square<E>& x, E* to, int64_t pitch, int lines, int length, bool wide) {
  constexpr int kSide = Square<E>::kSide;
#pragma unroll
  for (int l = 0; l < kSide; ++l) {
    if (l >= lines) return;
    if (wide && length >= kSide) {
      *reinterpret_cast<uint4*>(to + l * pitch) = x.line[l];
      continue;
    }
#pragma unroll
    for (int i = 0; i < kSide; ++i)
      if (i < length) to[l * pitch + i] = x.get(l, i);
  }
}

template <class E>
__device__ Square<E> transposed(const Square<E>& x) {
  Square<E> y;
#pragma unroll
  for (int l = 0; l < Square<E>::kSide; ++l)
#pragma unroll
    for (int i = 0; i < Square<E>::kSide; ++i) y.set(l, i, x.get(i, l));
  return y;
}

template <class E>
__global__ void __launch_bounds__(kTransposeThreads) qkv_split_transpose_kernel(const __grid_constant__ Pieces p, unsigned tiles) {
  cuda::wait_for_previous_kernel();
  constexpr int kSide = Square<E>::kSide, kAcross = kTileRows / kSide, kDown = kTransposeThreads / kAcross;
  const Unit u(p, int(blockIdx.x / tiles));
  const Piece& piece = *u.piece;
  const int64_t row = int64_t(blockIdx.x % tiles) * kTileRows + threadIdx.x % kAcross * kSide;
  if (row >= p.rows) return;
  const int rows = int(min(p.rows - row, int64_t(kSide)));
  for (int column = int(threadIdx.x) / kAcross * kSide; column < piece.dim; column += kDown * kSide) {
    const int columns = min(piece.dim - column, kSide);
    Square<E> x;
    read_square(x, static_cast<const E*>(piece.from) + u.from + column * piece.from_column + row * piece.from_row,
                piece.from_column, piece.from_row, columns, rows, piece.wide_from);
    write_square(transposed(x), static_cast<E*>(piece.to) + u.to + row * piece.to_row + column, piece.to_row, rows, columns,
                 piece.wide_to);
  }
}

template <class E>
Status transpose(Context& ctx, const Pieces& p) {
  const unsigned tiles = unsigned((p.rows + kTileRows - 1) / kTileRows);
  const LaunchShape shape{.grid = tiles * unsigned(p.units), .block = kTransposeThreads, .dependent = true};
  return launch(ctx, qkv_split_transpose_kernel<E>, shape, p, tiles);
}

}  // namespace

Status qkv_split_cuda(Context& ctx, const QkvSplitArgs& s, std::byte*) {
  const Pieces p = pieces_of(s);
  const int size = int(dtype_size(s.mixed.dtype));
  if (!s.mixed.inner_contiguous()) return size == 4 ? transpose<uint32_t>(ctx, p) : transpose<uint16_t>(ctx, p);
  // As many rows a block as its threads copy at once, for heads of 256 bytes.
  const int rows = p.rows > 1024 ? 64 : 16;
  const LaunchShape shape{.grid = unsigned((p.rows + rows - 1) / rows * p.units), .block = kCopyThreads, .dependent = true};
  return launch(ctx, qkv_split_copy_kernel, shape, p, size, rows);
}

}  // namespace sluice
