// Any number of rows, both operands bf16: tiles of y by warps' matrix instructions, operands copied to shared memory a few stages
// of K ahead. At the end of each segment of K its sums are added to the totals, so that a row has the bits that the form of few
// rows gives it.
#include "ops/matmul/product.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kWarpsDown = 2, kWarpsAcross = 4;
constexpr int kRowBytes = kStage * 2, kStages = 3;

// A warp has kM x kN fragments of 16 rows of x by 8 rows of w.
template <int kM, int kN>
struct Tile {
  static constexpr int kRows = kWarpsDown * kM * 16, kColumns = kWarpsAcross * kN * 8;
  static constexpr int kStageBytes = (kRows + kColumns) * kRowBytes;
};

// Copies of `kCount` rows to shared memory by all threads, eight a row. Of odd rows the halves of a stage change places: reads of
// 16 bytes by lanes / 4 of a row then have no bank conflict.
template <int kCount>
class RowCopies {
 public:
  __device__ RowCopies(const void* matrix, int64_t pitch, int64_t first, int64_t rows, int64_t depth)
      : from_(static_cast<const Bf16*>(matrix) + (first + row()) * pitch + run() * 8),
        step_(pitch * (kThreads / 8)),
        rows_(rows - first - row()),
        depth_(depth - run() * 8) {}
  // The stages one after the other.
  __device__ void send(uint32_t to) {
    to += row() * kRowBytes + (run() ^ row() % 2 * 4) * 16;
    const Bf16* from = from_;
#pragma unroll
    for (int i = 0; i < kCount; i += kThreads / 8) {
      ptx::cp_async_16(to + i * kRowBytes, from, depth_ > 0 && i < rows_);
      from += step_;
    }
    from_ += kStage, depth_ -= kStage;
  }

 private:
  __device__ static int row() { return int(threadIdx.x) / 8; }
  __device__ static int run() { return int(threadIdx.x) % 8; }
  const Bf16* from_;
  int64_t step_, rows_, depth_;
};

// 16 bytes of a lane's row of block `half` of a stage.
__device__ inline uint4 operand(const char* rows, int row, int half, int lane) {
  return *reinterpret_cast<const uint4*>(rows + row * kRowBytes + ((half * 4 + lane % 4) ^ lane / 4 % 2 * 4) * 16);
}

template <int kM, int kN>
__global__ void __launch_bounds__(kThreads, kM* kN > 8 ? 1 : 2)
    matmul_tile_kernel(const __grid_constant__ Product p, const __grid_constant__ Segments s) {
  using T = Tile<kM, kN>;
  extern __shared__ __align__(128) char matmul_stages[];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int down = warp % kWarpsDown * kM * 16, across = warp / kWarpsDown * kN * 8;  // of this warp in the tile
  const int64_t first_row = int64_t(blockIdx.x) * T::kRows, first_column = int64_t(blockIdx.y) * T::kColumns;
  RowCopies<T::kRows> of_x(p.x, p.x_row, first_row, p.rows, p.depth);
  RowCopies<T::kColumns> of_w(p.w, p.w_row, first_column, p.columns, p.depth);
  const auto send = [&](int slot) {
    const uint32_t to = ptx::shared_address(matmul_stages + slot * T::kStageBytes);
    of_x.send(to), of_w.send(to + T::kRows * kRowBytes);
    ptx::cp_async_commit();
  };
  wait_for_previous_kernel();
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) send(i);

  float sum[kM][kN][4] = {}, total[kM][kN][4] = {};
  int slot = 0, in_segment = 0;
  for (int block = 0; block < s.blocks; block += 2) {
    ptx::cp_async_wait<kStages - 2>();
    __syncthreads();  // this stage is there, and all warps have read the one before, whose place the next copies take
    send(slot == 0 ? kStages - 1 : slot - 1);
    const char* x = matmul_stages + slot * T::kStageBytes + (down + lane / 4) * kRowBytes;
    const char* w = matmul_stages + slot * T::kStageBytes + (T::kRows + across + lane / 4) * kRowBytes;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (block + half == s.blocks) break;
      uint4 columns[kN];
#pragma unroll
      for (int n = 0; n < kN; ++n) columns[n] = operand(w, 8 * n, half, lane);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        const uint4 rows = operand(x, 16 * m, half, lane), below = operand(x, 16 * m + 8, half, lane);
#pragma unroll
        for (int n = 0; n < kN; ++n) multiply_block(sum[m][n], rows, below, columns[n]);
      }
      if (++in_segment < s.length && block + half + 1 < s.blocks) continue;
      in_segment = 0;
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int n = 0; n < kN; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) total[m][n][i] += sum[m][n][i], sum[m][n][i] = 0;
    }
    slot = slot + 1 == kStages ? 0 : slot + 1;
  }
  ptx::cp_async_wait<0>();

#pragma unroll
  for (int m = 0; m < kM; ++m)
#pragma unroll
    for (int n = 0; n < kN; ++n)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int64_t row = first_row + down + 16 * m + 8 * h + lane / 4;
        const int64_t column = first_column + across + 8 * n + lane % 4 * 2;
        if (row < p.rows) p.put_pair(row, column, total[m][n][2 * h], total[m][n][2 * h + 1]);
      }
}

template <int kM, int kN>
Status launch_tiles(const Context& ctx, const MatmulArgs& a) {
  using T = Tile<kM, kN>;
  const LaunchShape shape{.grid = dim3(unsigned(ceil_div(a.x.shape[0], T::kRows)), unsigned(ceil_div(a.w.shape[0], T::kColumns))),
                          .block = kThreads,
                          .shared = size_t(kStages) * T::kStageBytes,
                          .dependent = true};
  return launch(ctx, matmul_tile_kernel<kM, kN>, shape, Product(a), Segments(a.x.shape[1]));
}

}  // namespace

Status matmul_mma(Context& ctx, const MatmulArgs& a, std::byte*) {
  using Large = Tile<4, 4>;
  const int64_t large = ceil_div(a.x.shape[0], Large::kRows) * ceil_div(a.w.shape[0], Large::kColumns);
  return large >= ctx.gpu->sms ? launch_tiles<4, 4>(ctx, a) : launch_tiles<2, 2>(ctx, a);
}

}  // namespace sluice
