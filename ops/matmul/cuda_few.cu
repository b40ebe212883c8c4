// Up to 16 rows of x, both operands bf16: all the cost is the way of w from memory.
//
// A block for each multiprocessor; its 16 warps are the segments of K. They go through units of 8 or 16 rows of w together, each
// straight from memory into the operands of its matrix instructions, several loads ahead and past the end of a unit, so that memory
// is busy while a unit's sums meet. x is read again for each unit, from the first-level cache where it fits: a warp has the same
// part of it each time.
#include <algorithm>

#include "ops/matmul/product.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = kSegments * kWarp;

// A thread's place in the blocks of a segment: the rows lane / 4 + 8 i of a matrix, 16 bytes at a time.
template <int kRows>
class Cursor {
 public:
  // `valid`: blocks that are not behind the end of K.
  __device__ Cursor(const void* matrix, int64_t pitch, int64_t rows, int64_t first_element, int valid)
      : at_(static_cast<const Bf16*>(matrix) + first_element), pitch_(pitch), rows_(rows), valid_(valid) {}

  __device__ void go_to(int64_t row) { row_ = row, from_ = at_ + row * pitch_, block_ = 0; }
  __device__ int block() const { return block_; }
  // The next block; zeros for rows and elements that are not there.
  template <class Load>
  __device__ void read(uint4 (&to)[kRows], Load&& load) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) to[i] = block_ < valid_ && row_ + 8 * i < rows_ ? load(from_ + 8 * i * pitch_) : uint4{};
    from_ += kBlock, ++block_;
  }

 private:
  const Bf16 *at_, *from_ = nullptr;
  int64_t pitch_, rows_, row_ = 0;
  int valid_, block_ = 0;
};

// kTiles: eights of rows of w in a unit; kHalves: eights of rows of x; kAhead: blocks that are on their way.
template <int kTiles, int kHalves, int kAhead>
__global__ void __launch_bounds__(kThreads, 1)
    few_rows_kernel(const __grid_constant__ Product p, const __grid_constant__ Segments s) {
  constexpr int kColumns = 8 * kTiles, kRows = 8 * kHalves;
  __shared__ float partial[2][kSegments][kRows][kColumns];
  const int lane = int(threadIdx.x) % kWarp, segment = int(threadIdx.x) / kWarp, row = lane / 4;
  const int64_t first = int64_t(segment) * s.length * kBlock + lane % 4 * 8;
  const int valid = int((p.depth - first + kBlock - 1) / kBlock);  // K is a multiple of 8
  const auto load_w = [](const Bf16* from) { return ptx::load_once(from); };
  const auto load_x = [](const Bf16* from) { return *reinterpret_cast<const uint4*>(from); };

  uint4 w[kAhead][kTiles], x[kAhead][kHalves];
  Cursor<kTiles> next_w(p.w, p.w_row, p.columns, first, valid);
  Cursor<kHalves> next_x(p.x, p.x_row, p.rows, first, valid);
  int64_t coming = int64_t(blockIdx.x) * kColumns;  // the column whose weights are read next
  const int64_t step = int64_t(gridDim.x) * kColumns;
  const auto read_w = [&](uint4(&to)[kTiles]) {
    next_w.read(to, load_w);
    if (next_w.block() == s.length) next_w.go_to((coming += step) + row);
  };
  const auto read_x = [&](uint4(&to)[kHalves]) {
    next_x.read(to, load_x);
    if (next_x.block() == s.length) next_x.go_to(row);
  };

  next_w.go_to(coming + row);
  next_x.go_to(row);
#pragma unroll
  for (int i = 0; i < kAhead; ++i) read_w(w[i]);
  wait_for_previous_kernel();
#pragma unroll
  for (int i = 0; i < kAhead; ++i) read_x(x[i]);

  float sum[kTiles][4] = {};
  int block = 0, turn = 0;
  // Where all segments' sums of a unit meet; the two turns have their own memory, so that one barrier is enough.
  const auto meet = [&](int64_t column) {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int h = 0; h < kHalves; ++h) {
        *reinterpret_cast<float2*>(&partial[turn][segment][row + 8 * h][8 * t + lane % 4 * 2]) =
            make_float2(sum[t][2 * h], sum[t][2 * h + 1]);
        sum[t][2 * h] = sum[t][2 * h + 1] = 0;
      }
    __syncthreads();
    const int r = int(threadIdx.x) / kColumns, c = int(threadIdx.x) % kColumns;
    if (r < p.rows && r < kRows && column + c < p.columns) {
      float total = 0;
#pragma unroll 4
      for (int i = 0; i < s.count; ++i) total += partial[turn][i][r][c];
      p.put(r, column + c, total);
    }
    turn ^= 1;
  };
  for (int64_t column = int64_t(blockIdx.x) * kColumns; column < p.columns;) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (column >= p.columns) break;
#pragma unroll
      for (int t = 0; t < kTiles; ++t) multiply_block(sum[t], x[i][0], kHalves == 2 ? x[i][kHalves - 1] : uint4{}, w[i][t]);
      read_w(w[i]), read_x(x[i]);
      if (++block < s.length) continue;
      meet(column);
      block = 0, column += step;
    }
  }
}

template <int kTiles, int kHalves, int kAhead>
Status launch_few_rows(const Context& ctx, const MatmulArgs& a) {
  const int64_t units = ceil_div(a.w.shape[0], 8 * kTiles);
  const LaunchShape shape{.grid = unsigned(std::min<int64_t>(units, ctx.gpu->sms)), .block = kThreads, .dependent = true};
  return launch(ctx, few_rows_kernel<kTiles, kHalves, kAhead>, shape, Product(a), Segments(a.x.shape[1]));
}

}  // namespace

Status matmul_few_rows(Context& ctx, const MatmulArgs& a, std::byte*) {
  // Units of 16 rows of w read x half as often; units of 8 where those would leave more multiprocessors idle at the end.
  const auto rows_of_w_each = [&](int64_t unit) { return ceil_div(ceil_div(a.w.shape[0], unit), ctx.gpu->sms) * unit; };
  const bool wide = rows_of_w_each(16) <= rows_of_w_each(8), tall = a.x.shape[0] > 8;
  if (tall) return wide ? launch_few_rows<2, 2, 4>(ctx, a) : launch_few_rows<1, 2, 6>(ctx, a);
  return wide ? launch_few_rows<2, 1, 4>(ctx, a) : launch_few_rows<1, 1, 8>(ctx, a);
}

}  // namespace sluice
