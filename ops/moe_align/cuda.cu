// A warp has a run of neighbouring entries, which it takes 32 at a time, one a lane. Within a warp equal experts find each other by
// votes on their bits, and a byte for each expert and warp counts them; from these bytes an entry knows how many of its expert come
// before it in the tile, the entries of a block. So order is by flat index, without atomics whose order could differ.
//
// Up to 8192 entries one launch does it all: every block counts all entries, and orders those of its own tile. More take two:
// entries are counted by tile and expert, and placed by blocks that each sum what they need of these numbers. What is not an entry,
// the padding above all, is shared among the blocks.
#include <algorithm>
#include <bit>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/moe_align/forms.h"

namespace sluice {
namespace {

using namespace cuda;

// Where a block has the numbers of all entries from.
enum class Numbers { kOwn, kCounted, kTiles };  // all entries are its own; it counts them all; another kernel has counted tiles

constexpr int kMostRounds = kMoeAlignMostRounds;
constexpr uint32_t kAll = 0xffffffffu;

struct Align {
  const int32_t* topk_ids;
  int64_t gap;  // between rows, elements
  int32_t top_k, entries, experts, log_block;
  const int32_t* map;
  int32_t first_local, local_experts;
  int32_t *sorted, *expert_ids, *end;
  int64_t sorted_count, expert_ids_count;  // room
  int32_t rounds;                          // entries of a thread
  int32_t* of_tiles;                       // [tiles, experts] where there are several
};

// The expert of an entry, or -1.
__device__ int expert_of(const Align& a, int64_t entry) {
  if (entry >= a.entries) return -1;
  int64_t at = entry;
  if (a.gap != 0) at += int64_t(uint32_t(entry) / uint32_t(a.top_k)) * a.gap;
  const int expert = a.topk_ids[at];
  return uint32_t(expert) < uint32_t(a.experts) ? expert : -1;
}

constexpr int kCountThreads = kMoeAlignThreads;

__global__ void __launch_bounds__(kCountThreads) moe_align_count_kernel(const __grid_constant__ Align a) {
  extern __shared__ int32_t count[];
  for (int e = threadIdx.x; e < a.experts; e += kCountThreads) count[e] = 0;
  const int64_t first = int64_t(blockIdx.x) * kCountThreads * a.rounds + threadIdx.x;
  wait_for_previous_kernel();
  __syncthreads();
  int expert[kMostRounds];
#pragma unroll
  for (int r = 0; r < kMostRounds; ++r) expert[r] = r < a.rounds ? expert_of(a, first + r * kCountThreads) : -1;
#pragma unroll
  for (int r = 0; r < kMostRounds; ++r)
    if (expert[r] >= 0) atomicAdd(count + expert[r], 1);  // in shared memory; a sum of integers has no order
  __syncthreads();
  int32_t* to = a.of_tiles + int64_t(blockIdx.x) * a.experts;
  for (int e = threadIdx.x; e < a.experts; e += kCountThreads) to[e] = count[e];
}

// The bytes of an expert: how many of its entries each warp has.
template <int kWarps>
struct alignas(kWarps < 16 ? kWarps : 16) WarpCounts {
  uint32_t of_four[kWarps / 4];
};

__device__ int sum_of_bytes(uint32_t word, int sum) { return int(__dp4a(word, 0x01010101u, uint32_t(sum))); }

template <int kWarps>
__device__ int sum_of_warps(const WarpCounts<kWarps>& in_memory) {
  const WarpCounts<kWarps> c = in_memory;
  int sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps / 4; ++i) sum = sum_of_bytes(c.of_four[i], sum);
  return sum;
}

// Of the warps before `warp`.
template <int kWarps>
__device__ int sum_before(const WarpCounts<kWarps>& in_memory, int warp) {
  const WarpCounts<kWarps> c = in_memory;
  int sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps / 4; ++i) {
    const int bytes = min(max(warp - 4 * i, 0), 4);
    sum = sum_of_bytes(bytes == 4 ? c.of_four[i] : c.of_four[i] & ((1u << 8 * bytes) - 1), sum);
  }
  return sum;
}

// The lanes that have this one's expert. (match.any takes a turn for each different expert.)
template <int kBits>
__device__ uint32_t lanes_of_expert(int expert) {
  const uint32_t valid = __ballot_sync(kAll, expert >= 0);
  uint32_t same = expert >= 0 ? valid : ~valid;
#pragma unroll
  for (int bit = 0; bit < kBits; ++bit) {
    const bool set = expert & 1 << bit;
    const uint32_t votes = __ballot_sync(kAll, set);
    same &= set ? votes : ~votes;
  }
  return same;
}

// A thread's entries, one a round.
template <int kWarps, int kRounds>
struct Entries {
  int64_t first;  // its entry of the first round; 32 on, that of the next
  int expert[kRounds];
  int before[kRounds];  // entries of its expert that the warp has before it

  __device__ explicit Entries(const Align& a, int64_t tile)
      : first((tile * kWarps + threadIdx.x / kWarp) * kWarp * rounds(a) + threadIdx.x % kWarp) {}
  __device__ static int rounds(const Align& a) { return kRounds > 1 ? a.rounds : 1; }
  __device__ void load(const Align& a) {
#pragma unroll
    for (int r = 0; r < kRounds; ++r) expert[r] = r < rounds(a) ? expert_of(a, first + r * kWarp) : -1;
  }
  // Counts in this warp's bytes, which are 0.
  template <int kBits>
  __device__ void count(const Align& a, WarpCounts<kWarps>* table) {
    const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
#pragma unroll
    for (int r = 0; r < kRounds; ++r) {
      if (r >= rounds(a)) break;
      const uint32_t same = lanes_of_expert<kBits>(expert[r]);
      uint8_t* so_far = reinterpret_cast<uint8_t*>(table + max(expert[r], 0)) + warp;
      const int in_round = __popc(same & ((1u << lane) - 1)), earlier = r > 0 ? *so_far : 0;
      before[r] = earlier + in_round;
      __syncwarp();
      if (expert[r] >= 0 && in_round == 0) *so_far = uint8_t(earlier + __popc(same));
      __syncwarp();
    }
  }
};

// The sum of x over this thread and those before it; every thread of the block takes part.
template <int kWarps>
__device__ int sum_up_to(int x, int32_t (&warp_sums)[kWarps]) {
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
#pragma unroll
  for (int d = 1; d < kWarp; d *= 2) {
    const int before = __shfl_up_sync(kAll, x, d);
    if (lane >= d) x += before;
  }
  if (lane == kWarp - 1) warp_sums[warp] = x;
  __syncthreads();
  return x + int(__reduce_add_sync(kAll, unsigned(lane < warp ? warp_sums[lane] : 0)));
}

// begin[e] of every expert, where its blocks begin, and begin[experts], where the last ends.
template <int kWarps, class Count>
__device__ void lay_out(const Align& a, int32_t* begin, Count&& count_of) {
  constexpr int kThreads = kWarps * kWarp;
  __shared__ int32_t warp_sums[kWarps];
  const int round_up = (1 << a.log_block) - 1;
  int end = 0;
  if (threadIdx.x == 0) begin[0] = 0;
  for (int first = 0; first < a.experts; first += kThreads) {
    const int e = first + int(threadIdx.x), count = e < a.experts ? count_of(e) : 0;
    const int after = end + sum_up_to<kWarps>((count + round_up) & ~round_up, warp_sums);
    if (e < a.experts) begin[e + 1] = after;
    __syncthreads();
    end = begin[min(first + kThreads, a.experts)];
  }
}

// The padding, the experts of the blocks, and the end: whatever is not an entry. Blocks share it.
template <int kWarps, class Count>
__device__ void write_the_rest(const Align& a, const int32_t* begin, Count&& count_of) {
  constexpr int kThreads = kWarps * kWarp;
  const int lane = int(threadIdx.x) % kWarp, end = begin[a.experts], warps = int(gridDim.x) * kWarps;
  const int64_t threads = int64_t(gridDim.x) * kThreads, thread = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  for (int e = int(thread / kWarp); e < a.experts; e += warps) {
    const int first = begin[e], last = begin[e + 1];
    if (first == last) continue;
    for (int at = first + count_of(e) + lane; at < last; at += kWarp) a.sorted[at] = a.entries;
    const int32_t local = moe_align_local(a.map, a.first_local, a.local_experts, e);
    for (int b = (first >> a.log_block) + lane; b < last >> a.log_block; b += kWarp) a.expert_ids[b] = local;
  }
  for (int64_t at = end + thread; at < a.sorted_count; at += threads) a.sorted[at] = a.entries;
  for (int64_t b = (end >> a.log_block) + thread; b < a.expert_ids_count; b += threads) a.expert_ids[b] = -1;
  if (thread == 0) *a.end = end;
}

// Counts all entries by expert: their number in the lower half of a word, that of the entries before `first` in the upper one.
template <int kThreads>
__device__ void count_all(const Align& a, int64_t first, uint32_t* counts) {
#pragma unroll 4
  for (int i = threadIdx.x; i < a.entries; i += kThreads) {
    const int expert = expert_of(a, i);
    if (expert >= 0) atomicAdd(counts + expert, i < first ? 0x10001u : 1u);  // in shared memory; a sum of integers has no order
  }
}

// Sums an expert's numbers of all tiles, and of those before this block's. Several threads share an expert where they are more.
__device__ void sum_tiles(const Align& a, uint32_t* total, uint32_t* before) {
  const int padded = (a.experts + kWarp - 1) / kWarp * kWarp, parts = max(int(blockDim.x) / padded, 1);
  for (int i = threadIdx.x; i < padded * parts; i += blockDim.x) {
    const int part = int(uint32_t(i) / uint32_t(padded)), e = i - part * padded;
    if (e >= a.experts) continue;
    uint32_t sum = 0, earlier = 0;
#pragma unroll 8
    for (int t = part; t < int(gridDim.x); t += parts) {
      const uint32_t n = uint32_t(a.of_tiles[int64_t(t) * a.experts + e]);
      sum += n, earlier += t < int(blockIdx.x) ? n : 0;
    }
    atomicAdd(total + e, sum), atomicAdd(before + e, earlier);  // as above
  }
}

constexpr int expert_words(int warps, Numbers numbers) {  // of the table and the counts
  return warps / 4 + (numbers == Numbers::kOwn ? 0 : numbers == Numbers::kCounted ? 1 : 2);
}

template <int kWarps, Numbers kNumbers, int kBits>
__global__ void __launch_bounds__(kWarps* kWarp) moe_align_place_kernel(const __grid_constant__ Align a) {
  constexpr int kThreads = kWarps * kWarp, kRounds = kNumbers == Numbers::kTiles ? kMostRounds : 1;
  extern __shared__ uint4 shared[];
  auto* table = reinterpret_cast<WarpCounts<kWarps>*>(shared);   // [experts]
  auto* total = reinterpret_cast<uint32_t*>(table + a.experts);  // [experts] where counted
  uint32_t* before = total + a.experts;                          // [experts] of tiles
  auto* begin = reinterpret_cast<int32_t*>(shared) + int64_t(a.experts) * expert_words(kWarps, kNumbers);  // [experts + 1]
  for (int i = threadIdx.x; i < a.experts * expert_words(kWarps, kNumbers); i += kThreads)
    reinterpret_cast<uint32_t*>(shared)[i] = 0;
  Entries<kWarps, kRounds> mine(a, kNumbers == Numbers::kOwn ? 0 : blockIdx.x);
  wait_for_previous_kernel();
  __syncthreads();
  mine.load(a);
  if constexpr (kNumbers == Numbers::kCounted) count_all<kThreads>(a, int64_t(blockIdx.x) * kThreads, total);
  if constexpr (kNumbers == Numbers::kTiles) sum_tiles(a, total, before);
  mine.template count<kBits>(a, table);
  __syncthreads();
  const auto count_of = [&](int e) {
    if constexpr (kNumbers == Numbers::kOwn) return sum_of_warps(table[e]);
    else return int(kNumbers == Numbers::kCounted ? total[e] & 0xffff : total[e]);
  };
  lay_out<kWarps>(a, begin, count_of);
#pragma unroll
  for (int r = 0; r < kRounds; ++r) {
    if (r >= mine.rounds(a)) break;
    const int e = mine.expert[r];
    if (e < 0 || (kNumbers == Numbers::kOwn && blockIdx.x != 0)) continue;
    const int earlier = kNumbers == Numbers::kOwn ? 0 : int(kNumbers == Numbers::kCounted ? total[e] >> 16 : before[e]);
    a.sorted[begin[e] + earlier + sum_before(table[e], int(threadIdx.x) / kWarp) + mine.before[r]] =
        int32_t(mine.first + r * kWarp);
  }
  write_the_rest<kWarps>(a, begin, count_of);
}

Align align_of(const MoeAlignArgs& a, std::byte* scratch) {
  return {.topk_ids = a.topk_ids.as<int32_t>(),
          .gap = a.topk_ids.shape[0] > 1 ? a.topk_ids.stride[0] - a.topk_ids.shape[1] : 0,
          .top_k = int32_t(a.topk_ids.shape[1]),
          .entries = int32_t(a.topk_ids.numel()),
          .experts = int32_t(a.experts),
          .log_block = std::countr_zero(uint32_t(a.block)),
          .map = a.expert_map.present() ? a.expert_map.as<int32_t>() : nullptr,
          .first_local = int32_t(a.first_local),
          .local_experts = int32_t(a.local_experts),
          .sorted = a.sorted_token_ids.as<int32_t>(),
          .expert_ids = a.expert_ids.as<int32_t>(),
          .end = a.num_tokens_post_pad.as<int32_t>(),
          .sorted_count = a.sorted_token_ids.shape[0],
          .expert_ids_count = a.expert_ids.shape[0],
          .of_tiles = reinterpret_cast<int32_t*>(scratch)};
}

template <int kWarps, Numbers kNumbers>
Status launch_place(Context& ctx, const Align& a, int64_t blocks) {
  const size_t shared = (size_t(a.experts) * (expert_words(kWarps, kNumbers) + 1) + 1) * sizeof(int32_t);
  const LaunchShape shape{.grid = unsigned(blocks), .block = kWarps * kWarp, .shared = shared, .dependent = true};
  return a.experts <= 256 ? launch(ctx, moe_align_place_kernel<kWarps, kNumbers, 8>, shape, a)
                          : launch(ctx, moe_align_place_kernel<kWarps, kNumbers, 11>, shape, a);
}

// One launch: enough blocks that a warp has few experts to pad, and a thread few numbers to write.
Status launch_one(Context& ctx, const Align& a) {
  constexpr int kWarps = 8, kThreads = kWarps * kWarp, kNumbers = 4;
  const int64_t tiles = ceil_div(a.entries, kThreads), numbers = (a.sorted_count + a.expert_ids_count) / (kNumbers * kThreads);
  const int64_t blocks = std::clamp<int64_t>(std::max(ceil_div(a.experts, kWarps), numbers), std::max<int64_t>(tiles, 1),
                                             std::max<int64_t>(tiles, ctx.gpu->sms));
  return tiles <= 1 ? launch_place<kWarps, Numbers::kOwn>(ctx, a, blocks) : launch_place<kWarps, Numbers::kCounted>(ctx, a, blocks);
}

}  // namespace

Status moe_align_cuda(Context& ctx, const MoeAlignArgs& args, std::byte* scratch) {
  Align a = align_of(args, scratch);
  const MoeAlignTiles tiles(a.entries, a.experts);
  if (tiles.count == 0) return launch_one(ctx, a);
  a.rounds = tiles.rounds;
  const LaunchShape count{
      .grid = unsigned(tiles.count), .block = kCountThreads, .shared = size_t(a.experts) * sizeof(int32_t), .dependent = true};
  SLUICE_RETURN_IF_ERROR(launch(ctx, moe_align_count_kernel, count, a));
  return launch_place<kMoeAlignThreads / kWarp, Numbers::kTiles>(ctx, a, tiles.count);
}

}  // namespace sluice
