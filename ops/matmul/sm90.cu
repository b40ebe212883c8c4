// Any number of rows, both operands bf16, on compute capability 9.0: tiles of 128 x 128 of y by the products of two warpgroups,
// which take both operands from shared memory. wgmma adds as mma does, 16 elements of K at once, so that a row has the bits that
// the form of few rows gives it: with the same 16 elements in each product, in the same order, and the segments of K added as
// there.
#include <cuda_pipeline_primitives.h>

#include "core/cuda/wgmma.h"
#include "ops/matmul/product.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kGroup = 128, kGroups = 2, kThreads = kGroups * kGroup, kGroupRows = 64;
constexpr int kTile = kGroups * kGroupRows, kRowBytes = kStage * 2, kTileBytes = kTile * kRowBytes, kStageBytes = 2 * kTileBytes;
constexpr int kStages = 6, kAhead = kStages - 2;  // a stage is filled again when all have left the one behind it
constexpr int kFour = 4, kFours = kStage / kFour, kCopyRows = kThreads / kFours;
constexpr int kBand = 16;  // tiles of x that go through w together, from the second-level cache

// Four neighbours change places within their block: of each thread's eight in multiply_block(), the first instruction has the first
// four.
__device__ inline int place_of(int four) { return four / 8 * 8 + four % 2 * 4 + four % 8 / 2; }

// Copies of a tile's rows by all threads, sixteen a row, swizzled over 128 bytes.
class TileCopies {
 public:
  __device__ TileCopies(const void* matrix, int64_t pitch, int64_t first, int64_t rows, int64_t depth)
      : from_(static_cast<const Bf16*>(matrix) + (first + row()) * pitch + four() * kFour),
        step_(pitch * kCopyRows),
        rows_(rows - first - row()),
        depth_(depth - four() * kFour),
        to_(row() * kRowBytes + (place_of(four()) / 2 ^ row() % 8) * 16 + place_of(four()) % 2 * 8) {}
  // The stages one after the other.
  __device__ void send(char* tile) {
    const Bf16* from = from_;
#pragma unroll
    for (int i = 0; i < kTile; i += kCopyRows) {
      const bool wanted = depth_ > 0 && i < rows_;
      __pipeline_memcpy_async(tile + to_ + i * kRowBytes, from, 8, wanted ? 0 : 8);
      from += step_;
    }
    from_ += kStage, depth_ -= kStage;
  }

 private:
  __device__ static int row() { return int(threadIdx.x) / kFours; }
  __device__ static int four() { return int(threadIdx.x) % kFours; }
  const Bf16* from_;
  int64_t step_, rows_, depth_;
  int to_;
};

// Which tile of y a block of threads has: bands of kBand tiles of rows, one after another.
struct Place {
  int64_t row, column;
  __device__ Place(int64_t row_tiles, int64_t column_tiles) {
    const int64_t band = blockIdx.x / (kBand * column_tiles), i = blockIdx.x - band * kBand * column_tiles;
    const int64_t height = min(int64_t(kBand), row_tiles - band * kBand);
    row = (band * kBand + i % height) * kTile, column = i / height * kTile;
  }
};

__global__ void __launch_bounds__(kThreads, 1)
    matmul_wgmma_kernel(const __grid_constant__ Product p, const __grid_constant__ Segments s, int64_t row_tiles,
                        int64_t column_tiles) {
  extern __shared__ __align__(1024) char wgmma_stages[];
  const int group = int(threadIdx.x) / kGroup, warp = int(threadIdx.x) % kGroup / kWarp, lane = int(threadIdx.x) % kWarp;
  const Place place(row_tiles, column_tiles);
  TileCopies of_x(p.x, p.x_row, place.row, p.rows, p.depth), of_w(p.w, p.w_row, place.column, p.columns, p.depth);
  const int stages = (s.blocks + 1) / 2, segment = s.length / 2;
  const auto send = [&](int i, int slot) {
    char* to = wgmma_stages + slot * kStageBytes;
    if (i < stages) of_x.send(to), of_w.send(to + kTileBytes);
    ptx::cp_async_commit();
  };
  wait_for_previous_kernel();
  for (int i = 0; i < kAhead; ++i) send(i, i);

  float sum[64] = {}, total[64] = {};
  int slot = 0, next = kAhead, in_segment = 0;
  for (int i = 0; i < stages; ++i) {
    ptx::cp_async_wait<kAhead - 1>();
    ptx::fence_proxy_async();
    __syncthreads();  // the stage is there, and both groups are done with the last but one, whose place the next copies take
    send(i + kAhead, next);
    const uint32_t at = ptx::shared_address(wgmma_stages) + slot * kStageBytes;
    const uint64_t x = ptx::wgmma_operand(at + group * kGroupRows * kRowBytes, 16, 8 * kRowBytes);
    const uint64_t w = ptx::wgmma_operand(at + kTileBytes, 16, 8 * kRowBytes);
    ptx::pin(sum);
    ptx::wgmma_fence();
#pragma unroll
    for (int k = 0; k < kStage / 16; ++k)
      ptx::wgmma_m64n128k16_bf16<ptx::Major::kSummed, ptx::Major::kSummed>(sum, ptx::wgmma_advance(x, k * 32),
                                                                           ptx::wgmma_advance(w, k * 32), true);
    ptx::wgmma_commit();
    slot = slot + 1 == kStages ? 0 : slot + 1, next = next + 1 == kStages ? 0 : next + 1;
    if (++in_segment < segment && i + 1 < stages) {
      ptx::wgmma_wait<1>();
      continue;
    }
    in_segment = 0;
    ptx::wgmma_wait<0>();
    ptx::pin(sum);
#pragma unroll
    for (int j = 0; j < 64; ++j) total[j] += sum[j], sum[j] = 0;
  }

#pragma unroll
  for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t row = place.row + group * kGroupRows + warp * 16 + 8 * h + lane / 4;
      if (row < p.rows) p.put_pair(row, place.column + 8 * n + lane % 4 * 2, total[4 * n + 2 * h], total[4 * n + 2 * h + 1]);
    }
}

}  // namespace

Status matmul_wgmma(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  const int64_t row_tiles = ceil_div(a.x.shape[0], int64_t(kTile)), column_tiles = ceil_div(a.w.shape[0], int64_t(kTile));
  if (2 * row_tiles * column_tiles < ctx.gpu->sms) return matmul_mma(ctx, a, scratch);  // smaller tiles, the same bits
  const LaunchShape shape{
      .grid = unsigned(row_tiles * column_tiles), .block = kThreads, .shared = size_t(kStages) * kStageBytes, .dependent = true};
  return launch(ctx, matmul_wgmma_kernel, shape, Product(a), Segments(a.x.shape[1]), row_tiles, column_tiles);
}

}  // namespace sluice
