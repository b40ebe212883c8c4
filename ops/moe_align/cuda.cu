// A warp has a run of neighbouring entries, which it takes 32 at a time, one a lane. Within a warp equal experts find each other by
// votes on their bits, and a byte for each expert and warp counts them; from these bytes an entry knows how many of its expert come
// before it in the tile, the entries of a block. So order is by flat index, without atomics whose order could differ.
//
// Up to 7168 entries one launch does it all: every block works out the whole table, and blocks share what there is to write. More
// take two: entries are counted by tile and expert, and placed by blocks that each sum what they need of these numbers.
#include <algorithm>
#include <bit>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/moe_align/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kMostRounds = kMoeAlignMostRounds;
constexpr uint32_t kAll = 0xffffffffu;

struct Align {
  const int32_t* topk_ids;
  int64_t row_stride;
  int32_t top_k, entries, experts, log_block;
  const int32_t* map;
  int32_t first_local, local_experts;
  int32_t *sorted, *expert_ids, *end;
  int64_t sorted_count, expert_ids_count;  // room
  int32_t rounds;                          // entries of a thread
  int32_t expert_bits;                     // of the highest expert
  int32_t* of_tiles;                       // [tiles, experts] where there are several
};

// The expert of an entry, or -1.
__device__ int expert_of(const Align& a, int64_t entry) {
  if (entry >= a.entries) return -1;
  const uint32_t row = uint32_t(entry) / uint32_t(a.top_k);
  const int expert = a.topk_ids[int64_t(row) * a.row_stride + (uint32_t(entry) - row * uint32_t(a.top_k))];
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

// The lanes that have this one's expert. (match.any takes a turn for each different expert: 200 cycles where all are.)
__device__ uint32_t lanes_of_expert(const Align& a, int expert) {
  constexpr int kMostBits = 11;
  static_assert(MoeAlignArgs::kMostExperts <= 1 << kMostBits);
  const uint32_t valid = __ballot_sync(kAll, expert >= 0);
  uint32_t same = expert >= 0 ? valid : ~valid;
#pragma unroll
  for (int bit = 0; bit < kMostBits; ++bit) {
    if (bit >= a.expert_bits) break;
    const bool set = expert >> bit & 1;
    const uint32_t votes = __ballot_sync(kAll, set);
    same &= set ? votes : ~votes;
  }
  return same;
}

// A thread's entries, one a round.
template <int kWarps>
struct Entries {
  int64_t first;  // its entry of the first round; 32 on, that of the next
  int expert[kMostRounds];
  int before[kMostRounds];  // entries of its expert that the warp has before it

  __device__ explicit Entries(const Align& a, int64_t tile)
      : first((tile * kWarps + threadIdx.x / kWarp) * kWarp * a.rounds + threadIdx.x % kWarp) {}
  __device__ void load(const Align& a) {
#pragma unroll
    for (int r = 0; r < kMostRounds; ++r) expert[r] = r < a.rounds ? expert_of(a, first + r * kWarp) : -1;
  }
  // Counts in this warp's bytes, which are 0.
  __device__ void count(const Align& a, WarpCounts<kWarps>* table) {
    const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
#pragma unroll
    for (int r = 0; r < kMostRounds; ++r) {
      if (r >= a.rounds) break;
      const uint32_t same = lanes_of_expert(a, expert[r]);
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

// Sums an expert's numbers of all tiles, and of those before this block's. `threads` share an expert where they are more than
// these.
__device__ void sum_tiles(const Align& a, int32_t* total, int32_t* before) {
  const int padded = (a.experts + kWarp - 1) / kWarp * kWarp, parts = max(int(blockDim.x) / padded, 1);
  for (int i = threadIdx.x; i < padded * parts; i += blockDim.x) {
    const int part = int(uint32_t(i) / uint32_t(padded)), e = i - part * padded;
    if (e >= a.experts) continue;
    int sum = 0, earlier = 0;
#pragma unroll 8
    for (int t = part; t < int(gridDim.x); t += parts) {
      const int n = a.of_tiles[int64_t(t) * a.experts + e];
      sum += n, earlier += t < int(blockIdx.x) ? n : 0;
    }
    atomicAdd(total + e, sum), atomicAdd(before + e, earlier);  // in shared memory, as above
  }
}

// kOne: all entries are in one tile, of which every block makes the table; a round's entries are placed by one block.
template <int kWarps, bool kOne>
__global__ void __launch_bounds__(kWarps* kWarp) moe_align_place_kernel(const __grid_constant__ Align a) {
  constexpr int kThreads = kWarps * kWarp;
  extern __shared__ uint4 shared[];
  auto* table = reinterpret_cast<WarpCounts<kWarps>*>(shared);  // [experts]
  auto* total = reinterpret_cast<int32_t*>(table + a.experts);  // [experts] where there are several tiles, as
  int32_t* before = total + (kOne ? 0 : a.experts);             // this
  int32_t* begin = before + (kOne ? 0 : a.experts);             // [experts + 1]
  const int words = a.experts * (kWarps / 4 + (kOne ? 0 : 2));
  for (int i = threadIdx.x; i < words; i += kThreads) reinterpret_cast<uint32_t*>(shared)[i] = 0;
  Entries<kWarps> mine(a, kOne ? 0 : blockIdx.x);
  wait_for_previous_kernel();
  __syncthreads();
  mine.load(a);
  if constexpr (!kOne) sum_tiles(a, total, before);
  mine.count(a, table);
  __syncthreads();
  const auto count_of = [&](int e) { return kOne ? sum_of_warps(table[e]) : total[e]; };
  lay_out<kWarps>(a, begin, count_of);
#pragma unroll
  for (int r = 0; r < kMostRounds; ++r) {
    if (r >= a.rounds) break;
    const int expert = mine.expert[r];
    if (expert < 0 || (kOne && blockIdx.x != min(r, gridDim.x - 1))) continue;
    const int in_tile = sum_before(table[expert], int(threadIdx.x) / kWarp) + mine.before[r];
    a.sorted[begin[expert] + (kOne ? 0 : before[expert]) + in_tile] = int32_t(mine.first + r * kWarp);
  }
  write_the_rest<kWarps>(a, begin, count_of);
}

Align align_of(const MoeAlignArgs& a, std::byte* scratch) {
  return {.topk_ids = a.topk_ids.as<int32_t>(),
          .row_stride = a.topk_ids.stride[0],
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
          .expert_bits = int32_t(std::bit_width(uint32_t(a.experts - 1))),
          .of_tiles = reinterpret_cast<int32_t*>(scratch)};
}

// One launch: enough blocks that a warp has few experts to pad, and a thread few numbers to write.
template <int kWarps>
Status launch_one(Context& ctx, Align& a) {
  constexpr int kThreads = kWarps * kWarp, kNumbers = 4;
  a.rounds = int32_t(std::max<int64_t>(ceil_div(a.entries, kThreads), 1));
  const int64_t numbers = (a.sorted_count + a.expert_ids_count) / (kNumbers * kThreads);
  const int64_t blocks = std::clamp<int64_t>(std::max(ceil_div(a.experts, kWarps), numbers), 1, ctx.gpu->sms);
  const size_t table = size_t(a.experts) * (sizeof(WarpCounts<kWarps>) + sizeof(int32_t)) + sizeof(int32_t);
  return launch(ctx, moe_align_place_kernel<kWarps, true>,
                {.grid = unsigned(blocks), .block = kThreads, .shared = table, .dependent = true}, a);
}

}  // namespace

Status moe_align_cuda(Context& ctx, const MoeAlignArgs& args, std::byte* scratch) {
  constexpr int kFewWarps = 8, kFewRounds = 4, kManyWarps = kMoeAlignThreads / kWarp;
  Align a = align_of(args, scratch);
  if (a.entries <= kFewWarps * kWarp * kFewRounds) return launch_one<kFewWarps>(ctx, a);
  const MoeAlignTiles tiles(a.entries);
  if (tiles.count <= 1) return launch_one<kManyWarps>(ctx, a);
  a.rounds = tiles.rounds;
  const size_t count_bytes = size_t(a.experts) * sizeof(int32_t);
  const size_t table_bytes = size_t(a.experts) * (sizeof(WarpCounts<kManyWarps>) + 3 * sizeof(int32_t)) + sizeof(int32_t);
  SLUICE_RETURN_IF_ERROR(launch(ctx, moe_align_count_kernel,
                                {.grid = unsigned(tiles.count), .block = kCountThreads, .shared = count_bytes, .dependent = true},
                                a));
  return launch(ctx, moe_align_place_kernel<kManyWarps, false>,
                {.grid = unsigned(tiles.count), .block = kMoeAlignThreads, .shared = table_bytes, .dependent = true}, a);
}

}  // namespace sluice
