// One launch without traffic between blocks: every block sums over all sequences, 1024 at a time, and writes its own share of the
// chunks that they touch. Block 0 also writes the sums.
#include <algorithm>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/chunk_table/count.h"
#include "ops/chunk_table/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 1024, kWarps = kThreads / kWarp;
constexpr int kShare = 4 * kThreads;  // rows of `chunks` of a block: four for each thread

struct TableView {
  const int32_t *cu_seqlens, *start;
  int32_t *counts, *offsets;
  int32_t* chunks;
  int sequences;
  int64_t rows;  // of `chunks`
};

// The sum of x over this thread and those before it; every thread of the block takes part.
__device__ int sum_up_to(int x, int* warp_sums) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const int before = __shfl_up_sync(0xffffffffu, x, d);
    if (lane >= d) x += before;
  }
  if (lane == kWarp - 1) warp_sums[warp] = x;
  __syncthreads();
  int before = 0;
  for (int w = 0; w < warp; ++w) before += warp_sums[w];
  return before + x;
}

// The first of `n` rising numbers that is above x; the last of them is.
__device__ int first_above(const int* ends, int n, int x) {
  int low = 0;
  while (n > 1) {
    const int half = n / 2;
    if (ends[low + half - 1] <= x) low += half, n -= half;
    else n = half;
  }
  return low;
}

__global__ void __launch_bounds__(kThreads) chunk_table_kernel(TableView v) {
  __shared__ int ends[kThreads], warp_sums[kWarps];
  cuda::wait_for_previous_kernel();
  const int64_t first = int64_t(blockIdx.x) * kShare, last = min(first + kShare, v.rows);
  int total = 0;  // chunks of the sequences before the tile
  for (int tile = 0; tile < v.sequences; tile += kThreads) {
    const int b = tile + int(threadIdx.x), here = min(v.sequences - tile, kThreads);
    const bool valid = b < v.sequences;
    const int count = valid ? chunks_touched(v.start ? v.start[b] : 0, v.cu_seqlens[b + 1] - v.cu_seqlens[b]) : 0;
    const int end = total + sum_up_to(count, warp_sums);
    ends[threadIdx.x] = end;
    if (blockIdx.x == 0 && valid) {
      v.offsets[b] = end - count;
      if (v.counts) v.counts[b] = count;
    }
    __syncthreads();
    const int tile_end = ends[kThreads - 1];
    for (int64_t i = max(first, int64_t(total)) + threadIdx.x; i < min(last, int64_t(tile_end)); i += kThreads) {
      const int at = first_above(ends, here, int(i)), begin = at > 0 ? ends[at - 1] : total;
      v.chunks[2 * i] = tile + at, v.chunks[2 * i + 1] = int(i) - begin;
    }
    total = tile_end;
    __syncthreads();
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) v.offsets[v.sequences] = total;
  for (int64_t i = max(first, int64_t(total)) + threadIdx.x; i < last; i += kThreads) v.chunks[2 * i] = v.chunks[2 * i + 1] = -1;
}

}  // namespace

Status chunk_table_cuda(Context& ctx, const ChunkTableArgs& a, std::byte*) {
  const auto numbers = [](const Tensor& t) { return static_cast<int32_t*>(t.data); };
  const TableView view{.cu_seqlens = numbers(a.cu_seqlens),
                       .start = numbers(a.start),
                       .counts = numbers(a.counts),
                       .offsets = numbers(a.offsets),
                       .chunks = numbers(a.chunks),
                       .sequences = int(a.cu_seqlens.shape[0] - 1),
                       .rows = a.chunks.shape[0]};
  const int64_t blocks = std::max<int64_t>(1, (view.rows + kShare - 1) / kShare);
  return launch(ctx, chunk_table_kernel, {.grid = unsigned(blocks), .block = kThreads, .dependent = true}, view);
}

}  // namespace sluice
