// A block has a tile of 1024 entries, one a thread. Within a warp equal experts find each other (match), and a byte for each expert
// and warp says how many; from these bytes an entry knows how many of its expert come before it in the tile. So order is by flat
// index, without atomics whose order could differ.
//
// Up to 1024 entries one launch does it all: every block works out the whole table, and blocks share what there is to write. More
// take three: entries are counted by tile and expert, summed over the tiles of an expert, and placed.
#include <algorithm>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/moe_align/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kTile = kMoeAlignTile;   // entries, and threads of a block
constexpr int kWarps = kTile / kWarp;  // 32: as many bytes for an expert
constexpr uint32_t kAll = 0xffffffffu;

struct Align {
  const int32_t* topk_ids;
  int64_t row_stride;
  int32_t top_k, entries, experts, block;
  const int32_t* map;
  int32_t first_local, local_experts;
  int32_t *sorted, *expert_ids, *end;
  int64_t sorted_count, expert_ids_count;  // room
  int32_t *before, *counts;                // more than a tile: [tiles, experts], of the earlier tiles; [experts]
};

// The expert of this thread's entry, or -1.
__device__ int expert_of_thread(const Align& a, int64_t entry) {
  if (entry >= a.entries) return -1;
  const uint32_t row = uint32_t(entry) / uint32_t(a.top_k);
  const int expert = a.topk_ids[int64_t(row) * a.row_stride + (uint32_t(entry) - row * uint32_t(a.top_k))];
  return uint32_t(expert) < uint32_t(a.experts) ? expert : -1;
}

__device__ int64_t entry_of_thread() { return int64_t(blockIdx.x) * kTile + threadIdx.x; }

__global__ void __launch_bounds__(kTile) moe_align_count_kernel(const __grid_constant__ Align a) {
  extern __shared__ int32_t count[];
  for (int e = threadIdx.x; e < a.experts; e += kTile) count[e] = 0;
  wait_for_previous_kernel();
  __syncthreads();
  const int expert = expert_of_thread(a, entry_of_thread());
  const uint32_t same = __match_any_sync(kAll, expert);
  const bool leads = __ffs(same) - 1 == int(threadIdx.x) % kWarp;
  if (expert >= 0 && leads) atomicAdd(count + expert, __popc(same));  // in shared memory; a sum of integers has no order
  __syncthreads();
  int32_t* to = a.before + int64_t(blockIdx.x) * a.experts;
  for (int e = threadIdx.x; e < a.experts; e += kTile) to[e] = count[e];
}

// A block has 32 experts, a lane one of them, a warp a run of tiles: their numbers become those of all tiles before.
__global__ void __launch_bounds__(kTile) moe_align_sum_kernel(const __grid_constant__ Align a, int tiles) {
  __shared__ int32_t of_run[kWarps][kWarp];
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, expert = int(blockIdx.x) * kWarp + lane;
  const int run = (tiles + kWarps - 1) / kWarps, first = min(warp * run, tiles), last = min(first + run, tiles);
  wait_for_previous_kernel();
  const bool valid = expert < a.experts;
  int32_t* of_tile = a.before + int64_t(first) * a.experts + expert;
  int sum = 0;
#pragma unroll 8
  for (int t = 0; t < last - first; ++t)
    if (valid) sum += of_tile[int64_t(t) * a.experts];
  of_run[warp][lane] = sum;
  __syncthreads();
  int before = 0;
  for (int w = 0; w < warp; ++w) before += of_run[w][lane];
  if (valid && warp == kWarps - 1) a.counts[expert] = before + sum;
#pragma unroll 8
  for (int t = 0; t < last - first; ++t)
    if (valid) {
      const int here = of_tile[int64_t(t) * a.experts];
      of_tile[int64_t(t) * a.experts] = before;
      before += here;
    }
}

// The bytes of an expert: how many of its entries each warp has. 1024 entries make no byte overflow.
struct WarpCounts {
  uint4 low, high;
};

__device__ int sum_of_bytes(uint32_t word, int sum) { return int(__dp4a(word, 0x01010101u, uint32_t(sum))); }

__device__ int sum_of_warps(const WarpCounts& c) {
  int sum = 0;
  for (const uint32_t word : {c.low.x, c.low.y, c.low.z, c.low.w, c.high.x, c.high.y, c.high.z, c.high.w})
    sum = sum_of_bytes(word, sum);
  return sum;
}

// Of the warps before `warp`.
__device__ int sum_before(const WarpCounts& c, int warp) {
  int sum = 0, first = 0;  // warps of a word
  for (const uint32_t word : {c.low.x, c.low.y, c.low.z, c.low.w, c.high.x, c.high.y, c.high.z, c.high.w}) {
    const int bytes = min(max(warp - first, 0), 4);
    sum = sum_of_bytes(bytes == 4 ? word : word & ((1u << 8 * bytes) - 1), sum), first += 4;
  }
  return sum;
}

// The sum of x over this thread and those before it; every thread of the block takes part.
__device__ int sum_up_to(int x, int32_t (&warp_sums)[kWarps]) {
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const int before = __shfl_up_sync(kAll, x, d);
    if (lane >= d) x += before;
  }
  if (lane == kWarp - 1) warp_sums[warp] = x;
  __syncthreads();
  int before = lane < warp ? warp_sums[lane] : 0;
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) before += __shfl_xor_sync(kAll, before, d);
  return before + x;
}

// begin[e] of every expert, where its blocks begin, and begin[experts], where the last ends.
template <class Count>
__device__ void lay_out(const Align& a, int32_t* begin, Count&& count_of) {
  __shared__ int32_t warp_sums[kWarps];
  int end = 0;
  for (int tile = 0; tile < a.experts; tile += kTile) {
    const int e = tile + int(threadIdx.x), count = e < a.experts ? count_of(e) : 0;
    const int blocks = (count + a.block - 1) / a.block * a.block;
    const int after = end + sum_up_to(blocks, warp_sums);
    if (e < a.experts) begin[e + 1] = after;
    if (e == 0) begin[0] = 0;
    __syncthreads();
    end = begin[min(tile + kTile, a.experts)];
  }
}

// The expert whose blocks hold a position before begin[experts]: the last that begins at or before it, which is not empty.
__device__ int expert_at(const int32_t* begin, int experts, int position) {
  int low = 0;
  for (int n = experts; n > 1;) {
    const int half = n / 2;
    if (begin[low + half] <= position) low += half, n -= half;
    else n = half;
  }
  return low;
}

// The padding, the experts of the blocks, and the end: whatever is not an entry. Blocks share it.
template <class Count>
__device__ void write_the_rest(const Align& a, const int32_t* begin, Count&& count_of) {
  const int lane = int(threadIdx.x) % kWarp, end = begin[a.experts];
  const int64_t threads = int64_t(gridDim.x) * kTile, thread = entry_of_thread();
  for (int64_t e = thread / kWarp; e < a.experts; e += threads / kWarp)
    for (int at = begin[e] + count_of(int(e)) + lane; at < begin[e + 1]; at += kWarp) a.sorted[at] = a.entries;
  for (int64_t at = end + thread; at < a.sorted_count; at += threads) a.sorted[at] = a.entries;
  for (int64_t b = thread; b < a.expert_ids_count; b += threads) {
    const int64_t position = b * a.block;
    a.expert_ids[b] =
        position < end ? moe_align_local(a.map, a.first_local, a.local_experts, expert_at(begin, a.experts, int(position))) : -1;
  }
  if (thread == 0) *a.end = end;
}

// kOne: all entries are in one tile, of which every block makes the table and the first places the entries.
template <bool kOne>
__global__ void __launch_bounds__(kTile) moe_align_place_kernel(const __grid_constant__ Align a) {
  extern __shared__ uint4 shared[];
  auto* warps = reinterpret_cast<WarpCounts*>(shared);          // [experts]
  auto* begin = reinterpret_cast<int32_t*>(warps + a.experts);  // [experts + 1]
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  for (int i = threadIdx.x; i < 2 * a.experts; i += kTile) shared[i] = make_uint4(0, 0, 0, 0);
  wait_for_previous_kernel();
  __syncthreads();
  const int64_t entry = kOne ? threadIdx.x : entry_of_thread();
  const int expert = expert_of_thread(a, entry);
  const uint32_t same = __match_any_sync(kAll, expert);
  const int before_in_warp = __popc(same & ((1u << lane) - 1));
  if (expert >= 0 && before_in_warp == 0) reinterpret_cast<uint8_t*>(warps + expert)[warp] = uint8_t(__popc(same));
  __syncthreads();
  const auto count_of = [&](int e) { return kOne ? sum_of_warps(warps[e]) : a.counts[e]; };
  lay_out(a, begin, count_of);
  if (expert >= 0 && (!kOne || blockIdx.x == 0)) {
    const int in_tile = sum_before(warps[expert], warp) + before_in_warp;
    const int before = kOne ? 0 : a.before[int64_t(blockIdx.x) * a.experts + expert];
    a.sorted[begin[expert] + before + in_tile] = int32_t(entry);
  }
  write_the_rest(a, begin, count_of);
}

Align align_of(const MoeAlignArgs& a, std::byte* scratch, int64_t tiles) {
  auto* before = reinterpret_cast<int32_t*>(scratch);
  return {.topk_ids = a.topk_ids.as<int32_t>(),
          .row_stride = a.topk_ids.stride[0],
          .top_k = int32_t(a.topk_ids.shape[1]),
          .entries = int32_t(a.topk_ids.numel()),
          .experts = int32_t(a.experts),
          .block = int32_t(a.block),
          .map = a.expert_map.present() ? a.expert_map.as<int32_t>() : nullptr,
          .first_local = int32_t(a.first_local),
          .local_experts = int32_t(a.local_experts),
          .sorted = a.sorted_token_ids.as<int32_t>(),
          .expert_ids = a.expert_ids.as<int32_t>(),
          .end = a.num_tokens_post_pad.as<int32_t>(),
          .sorted_count = a.sorted_token_ids.shape[0],
          .expert_ids_count = a.expert_ids.shape[0],
          .before = before,
          .counts = before + tiles * a.experts};
}

}  // namespace

Status moe_align_cuda(Context& ctx, const MoeAlignArgs& args, std::byte* scratch) {
  const int64_t tiles = ceil_div(args.topk_ids.numel(), kTile);
  const Align a = align_of(args, scratch, tiles);
  const size_t count_bytes = size_t(a.experts) * sizeof(int32_t);
  const size_t table_bytes = size_t(a.experts) * (sizeof(WarpCounts) + sizeof(int32_t)) + sizeof(int32_t);
  if (tiles <= 1) {
    constexpr int64_t kShare = 8 * kTile, kMostBlocks = 64;  // numbers worth a block
    const int64_t blocks = std::clamp<int64_t>((a.sorted_count + a.expert_ids_count) / kShare, 1, kMostBlocks);
    return launch(ctx, moe_align_place_kernel<true>,
                  {.grid = unsigned(blocks), .block = kTile, .shared = table_bytes, .dependent = true}, a);
  }
  SLUICE_RETURN_IF_ERROR(
      launch(ctx, moe_align_count_kernel, {.grid = unsigned(tiles), .block = kTile, .shared = count_bytes, .dependent = true}, a));
  SLUICE_RETURN_IF_ERROR(launch(ctx, moe_align_sum_kernel,
                                {.grid = unsigned(ceil_div(a.experts, kWarp)), .block = kTile, .dependent = true}, a, int(tiles)));
  return launch(ctx, moe_align_place_kernel<false>,
                {.grid = unsigned(tiles), .block = kTile, .shared = table_bytes, .dependent = true}, a);
}

}  // namespace sluice
