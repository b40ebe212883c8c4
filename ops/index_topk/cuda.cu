// A row's keys stay in shared memory: of one block, or of the blocks of a cluster, which add up each other's histograms; so a row
// is read once; long rows mostly go by a short list (narrow.cuh). A row that no cluster holds is cut into parts for blocks all over
// the GPU, and each step is a kernel of its own, reading the row again, from the L2 cache where it fits.
#include <climits>
#include <cmath>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "ops/index_topk/forms.h"
#include "ops/index_topk/narrow.cuh"
#include "ops/index_topk/select.cuh"

namespace sluice {
namespace {

using namespace cuda;
using namespace topk;

// --- rows in shared memory ---

constexpr int kMostBlocks = 8;                            // of a cluster, everywhere
constexpr int kTogether = 4;                              // quads that a thread reads at once
constexpr int64_t kLeastNarrow = 16384, kLeastShare = 4;  // scores of a row, and of its wanted ones, that are worth a bar
constexpr int64_t kFewQuads = 4096;  // a part of up to so many has fewer threads, so that blocks share a multiprocessor

// The part of a row that this block has, in quads.
struct Part {
  int64_t begin, quads;
  __device__ Part(int64_t all, int64_t number, int64_t parts)
      : begin(all * number / parts), quads(all * (number + 1) / parts - begin) {}
};

// A barrier of a row's threads.
template <int kBlocks>
__device__ void meet() {
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) {
    __syncwarp();  // a warp arrives as one
    ptx::cluster_arrive(), ptx::cluster_wait();
    return;
  }
#endif
  __syncthreads();
}

// The sum over the first `count` blocks of a cluster of what lies in their shared memory where `mine` is in this one's.
template <int kBlocks>
__device__ uint32_t sum_of_blocks(const uint32_t* mine, int count = kBlocks) {
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) {
    uint32_t sum = 0, x[kBlocks];
#pragma unroll
    for (int rank = 0; rank < kBlocks; ++rank) x[rank] = ptx::load_cluster_shared(mine, rank);  // all on their way together
#pragma unroll
    for (int rank = 0; rank < kBlocks; ++rank) sum += rank < count ? x[rank] : 0;
    return sum;
  }
#endif
  return count ? *mine : 0;
}

// Writes x where the cluster's first block has what is at `mine` here.
template <int kBlocks>
__device__ void put_in_first_block(uint32_t* mine, uint32_t x) {
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) {
    ptx::store_in_cluster(ptx::shared_address(mine), 0, __uint_as_float(x));
    return;
  }
#endif
  *mine = x;
}

template <int kThreads>
__device__ void read_part(const Row& row, const Part& part, const Threshold& t, uint4* keys, Shared& s) {
  for (int64_t first = threadIdx.x; first < part.quads; first += kTogether * kThreads) {
    uint4 k[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i)
      if (first + i * kThreads < part.quads) k[i] = row.keys(part.begin + first + i * kThreads);
#pragma unroll
    for (int i = 0; i < kTogether; ++i)
      if (first + i * kThreads < part.quads) keys[first + i * kThreads] = k[i], count_digit<0>(t, k[i], s.histogram);
  }
}

template <int kThreads, int kBlocks, int kDigit>
__device__ void find_digit(Threshold& t, const Part& part, const uint4* keys, Shared& s) {
  if (t.found) return;
  if constexpr (kDigit > 0)
    for (int64_t i = threadIdx.x; i < part.quads; i += kThreads) count_digit<kDigit>(t, keys[i], s.histogram);
  meet<kBlocks>();
  take_digit<kThreads, kDigit>(t, s, [&](int bin) { return sum_of_blocks<kBlocks>(&s.histogram[first_bin(kDigit) + bin]); });
}

template <int kThreads, int kBlocks>
__device__ void select_row(const TopkRows& rows, int64_t number, const Row& row, int rank, uint4* keys, Shared& s) {
  const Part part(row.quads, rank, kBlocks);
  Threshold t(rows.k);
  clear_histograms<kThreads>(s);
  __syncthreads();
  read_part<kThreads>(row, part, t, keys, s);
  find_digit<kThreads, kBlocks, 0>(t, part, keys, s);
  find_digit<kThreads, kBlocks, 1>(t, part, keys, s);
  find_digit<kThreads, kBlocks, 2>(t, part, keys, s);
  count_chosen<kThreads>(t, part.quads, s, [&](int64_t i) { return keys[i]; });
  meet<kBlocks>();
  const uint32_t above = sum_of_blocks<kBlocks>(&s.block_above, rank), ties = sum_of_blocks<kBlocks>(&s.block_ties, rank);
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) ptx::cluster_arrive();  // no more reads of other blocks' memory
#endif
  write_chosen<kThreads>(
      rows, number, t, part.quads, above, ties, s, [&](int64_t i) { return keys[i]; },
      [&](int64_t i, int j) { return row.index(part.begin + i) + j; });
#if __CUDA_ARCH__ >= 900
  if constexpr (kBlocks > 1) {
    __syncwarp();
    ptx::cluster_wait();
  }
#endif
}

// What lies in a block's shared memory besides, and how long a row is whose scores are to pass a bar first.
struct Narrow {
  int64_t quads;  // in front of the list
  uint32_t room;  // of the list
  int64_t least;
};

// Selects among the scores that pass a bar. False: none was found that leaves enough and not too many, and nothing was written.
template <int kThreads, int kBlocks>
__device__ bool select_above_bar(const TopkRows& rows, int64_t number, const Row& row, int rank, uint4* memory,
                                 const Narrow& narrow, Shared& s) {
  const Part part(row.quads, rank, kBlocks);
  const List list{memory + narrow.quads, reinterpret_cast<uint32_t*>(memory + narrow.quads + narrow.room / 4), narrow.room};
  float4 sample[kSampleQuads];  // on its way ahead of all else
  load_sample<kThreads>(row, sample);
  copy_scores<kThreads>(row, part.begin, part.quads, reinterpret_cast<float4*>(memory));
  const uint32_t bar = find_bar<kThreads>(rows.k, row.length, sample, s);
  ptx::cp_async_wait<0>();
  __syncthreads();
  const auto* scores = reinterpret_cast<const float*>(memory);
  const Passed passed = find_passed<kThreads>(scores, uint32_t(part.quads * 4), score_of(bar), s);
  meet<kBlocks>();
  const uint32_t all = sum_of_blocks<kBlocks>(&s.block_above), before = sum_of_blocks<kBlocks>(&s.block_above, rank);
  if (all < rows.k || all > list.room) return false;
  list_passed(passed, scores, before + passed.before, row.index(part.begin), [&](uint32_t place, uint32_t key, uint32_t index) {
    put_in_first_block<kBlocks>(reinterpret_cast<uint32_t*>(list.keys) + place, key);
    put_in_first_block<kBlocks>(list.indices + place, index);
  });
  meet<kBlocks>();
  if (rank == 0) select_listed<kThreads>(rows, number, all, bar, list, s);
  return true;
}

template <int kThreads, int kBlocks>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    topk_row_kernel(const __grid_constant__ TopkRows rows, const Narrow narrow) {
  extern __shared__ uint4 keys[];
  __shared__ Shared s;
  wait_for_previous_kernel();
  const int64_t number = blockIdx.x / kBlocks;
  const int rank = int(blockIdx.x % kBlocks);
  const Row row(rows, number);
  if (row.length <= rows.k) {
    write_whole_row(rows, number, row.length, rank * kThreads + int(threadIdx.x), kBlocks * kThreads);
    return;
  }
  if (row.length >= narrow.least && select_above_bar<kThreads, kBlocks>(rows, number, row, rank, keys, narrow, s)) return;
  select_row<kThreads, kBlocks>(rows, number, row, rank, keys, s);
}

// --- rows that no cluster holds ---

constexpr int kSplitThreads = 512;
// Of a multiprocessor, as many as it has threads for: twice what a launch has, so that the next kernel's find room beside them, as
// evenly spread as they are.
#if defined(__CUDA_ARCH__) && ((__CUDA_ARCH__ > 800 && __CUDA_ARCH__ < 900) || __CUDA_ARCH__ >= 1200)
constexpr int kSplitBlocks = 3;
#else
constexpr int kSplitBlocks = 4;
#endif
constexpr int64_t kLeastPart = 1024;  // quads worth a block

// Scratch: histograms of all rows, then the two counts of each part of each row.
struct Split {
  uint32_t *histograms, *counts;
  int64_t parts;
};

__global__ void __launch_bounds__(kSplitThreads) topk_clear_kernel(uint32_t* histograms, int64_t n) {
  wait_for_previous_kernel();
  const int64_t i = blockIdx.x * int64_t(kSplitThreads) + threadIdx.x;
  if (i < n) histograms[i] = 0;
}

// What the digits found so far say.
template <int kFound>
__device__ Threshold threshold_of(int64_t k, const uint32_t* histogram, Shared& s) {
  Threshold t(k);
  const auto count = [&](int first) { return [=](int bin) { return histogram[first + bin]; }; };
  if constexpr (kFound > 0) take_digit<kSplitThreads, 0>(t, s, count(first_bin(0)));
  if constexpr (kFound > 1)
    if (!t.found) take_digit<kSplitThreads, 1>(t, s, count(first_bin(1)));
  if constexpr (kFound > 2)
    if (!t.found) take_digit<kSplitThreads, 2>(t, s, count(first_bin(2)));
  return t;
}

template <int kDigit>
__device__ void add_part(const Row& row, const Part& part, int64_t k, uint32_t* histogram, Shared& s) {
  const Threshold t = threshold_of<kDigit>(k, histogram, s);
  if (t.found) return;
  for (int i = int(threadIdx.x); i < bins_of(kDigit); i += kSplitThreads) s.histogram[first_bin(kDigit) + i] = 0;
  __syncthreads();
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < part.quads; i += kSplitThreads) count_digit<kDigit>(t, row.keys(part.begin + i), s.histogram);
  __syncthreads();
  for (int i = int(threadIdx.x); i < bins_of(kDigit); i += kSplitThreads)
    if (const uint32_t n = s.histogram[first_bin(kDigit) + i]) atomicAdd(&histogram[first_bin(kDigit) + i], n);
}

template <int kDigit>
__global__ void __launch_bounds__(kSplitThreads, kSplitBlocks)
    topk_digit_kernel(const __grid_constant__ TopkRows rows, Split split) {
  __shared__ Shared s;
  wait_for_previous_kernel();
  const int64_t number = blockIdx.x / split.parts;
  const Row row(rows, number);
  if (row.length > rows.k)
    add_part<kDigit>(row, Part(row.quads, blockIdx.x % split.parts, split.parts), rows.k, split.histograms + number * kAllBins, s);
}

__global__ void __launch_bounds__(kSplitThreads, kSplitBlocks)
    topk_count_kernel(const __grid_constant__ TopkRows rows, Split split) {
  __shared__ Shared s;
  wait_for_previous_kernel();
  const int64_t number = blockIdx.x / split.parts;
  const Row row(rows, number);
  if (row.length > rows.k) {
    const Part part(row.quads, blockIdx.x % split.parts, split.parts);
    const Threshold t = threshold_of<kDigits>(rows.k, split.histograms + number * kAllBins, s);
    count_chosen<kSplitThreads>(t, part.quads, s, [&](int64_t i) { return row.keys(part.begin + i); });
    if (threadIdx.x == 0) split.counts[blockIdx.x * 2] = s.block_above, split.counts[blockIdx.x * 2 + 1] = s.block_ties;
  }
}

// The sum over the row's parts before this one of their counts; `which`: 0 above the threshold, 1 equal to it.
__device__ uint32_t parts_before(const Split& split, int64_t first, int64_t part, int which) {
  uint32_t sum = 0;
  for (int64_t p = int(threadIdx.x) % kWarp; p < part; p += kWarp) sum += split.counts[(first + p) * 2 + which];
  return __reduce_add_sync(0xffffffffu, sum);
}

__device__ void write_part(const TopkRows& rows, const Split& split, int64_t number, const Row& row, Shared& s) {
  const int64_t rank = blockIdx.x % split.parts, first = number * split.parts;
  const Part part(row.quads, rank, split.parts);
  const Threshold t = threshold_of<kDigits>(rows.k, split.histograms + number * kAllBins, s);
  const auto keys = [&](int64_t i) { return row.keys(part.begin + i); };
  count_chosen<kSplitThreads>(t, part.quads, s, keys);
  write_chosen<kSplitThreads>(rows, number, t, part.quads, parts_before(split, first, rank, 0), parts_before(split, first, rank, 1),
                              s, keys, [&](int64_t i, int j) { return row.index(part.begin + i) + j; });
}

__global__ void __launch_bounds__(kSplitThreads, kSplitBlocks)
    topk_write_kernel(const __grid_constant__ TopkRows rows, Split split) {
  __shared__ Shared s;
  wait_for_previous_kernel();
  const int64_t number = blockIdx.x / split.parts;
  const Row row(rows, number);
  if (row.length > rows.k) write_part(rows, split, number, row, s);
  else
    write_whole_row(rows, number, row.length, blockIdx.x % split.parts * kSplitThreads + threadIdx.x, split.parts * kSplitThreads);
}

// --- launches ---

// Whether the machine code at hand is new enough for clusters: compiled for sm_80, it has none on any GPU.
bool has_clusters() {
  static const bool compiled = [] {
    cudaFuncAttributes a{};
    return cudaFuncGetAttributes(&a, topk_row_kernel<1024, 2>) == cudaSuccess && a.ptxVersion >= 90;
  }();
  return compiled;
}

struct Plan {
  int blocks;     // of a row's cluster; 0: the row is split instead
  int64_t quads;  // of a block, at most
  Narrow narrow;
  int64_t parts;  // of a split row
};

int threads_of(const Plan& plan) { return plan.quads <= kFewQuads ? 512 : 1024; }

// A list for what passes the bar and six deviations more, where there is room for one.
Narrow narrow_of(const TopkRows& rows, const Plan& plan, int64_t room) {
  const double in_sample = sample_of(threads_of(plan)) / double(rows.columns), expected = double(rows.k) * in_sample;
  const double rank = rank_of_bar(expected, std::sqrt(expected));
  Narrow narrow{.quads = plan.quads, .room = 0, .least = std::max(int64_t(kLeastNarrow), kLeastShare * rows.k)};
  if (rows.columns >= narrow.least) narrow.room = uint32_t(round_up(int64_t((rank + 6 * std::sqrt(rank)) / in_sample), 256));
  if (narrow.room == 0 || plan.quads + narrow.room / 2 > room) narrow.room = 0, narrow.least = INT64_MAX;
  return narrow;
}

Plan plan_of(const Context& ctx, const TopkRows& rows) {
  const Gpu& gpu = *ctx.gpu;
  constexpr int64_t kReserved = sizeof(Shared) + 1024;  // bytes; the second number is the system's
  const int64_t quads = rows.columns / 4 + 2, room = (int64_t(gpu.shared_memory) - kReserved) / int64_t(sizeof(uint4));
  const int most = gpu.major >= 9 && has_clusters() ? kMostBlocks : 1;
  const auto part = [&](int blocks) { return ceil_div(quads, blocks); };
  int blocks = 1;
  while (part(blocks) > room && blocks < most) blocks *= 2;
  if (part(blocks) > room)
    return {.blocks = 0, .parts = std::clamp<int64_t>(2 * gpu.sms / rows.rows, 1, ceil_div(quads, kLeastPart))};
  while (blocks < most && rows.rows * blocks * 2 <= gpu.sms && part(blocks * 2) >= kLeastPart) blocks *= 2;
  Plan plan{.blocks = blocks, .quads = part(blocks)};
  plan.narrow = narrow_of(rows, plan, room);
  return plan;
}

Status launch_rows(const Context& ctx, const TopkRows& rows, const Plan& plan) {
  const bool few = threads_of(plan) == 512;
  const LaunchShape shape{.grid = unsigned(rows.rows * plan.blocks),
                          .block = unsigned(threads_of(plan)),
                          .shared = size_t(plan.quads + plan.narrow.room / 2) * sizeof(uint4),
                          .cluster = unsigned(plan.blocks),
                          .dependent = true};
  const auto with = [&]<int kBlocks>() {
    return few ? launch(ctx, topk_row_kernel<512, kBlocks>, shape, rows, plan.narrow)
               : launch(ctx, topk_row_kernel<1024, kBlocks>, shape, rows, plan.narrow);
  };
  if (plan.blocks == 1) return with.operator()<1>();
  if (plan.blocks == 2) return with.operator()<2>();
  return plan.blocks == 4 ? with.operator()<4>() : with.operator()<8>();
}

Status launch_split(const Context& ctx, const TopkRows& rows, const Plan& plan, std::byte* scratch) {
  const int64_t bins = rows.rows * kAllBins;
  auto* words = reinterpret_cast<uint32_t*>(scratch);
  const Split split{.histograms = words, .counts = words + bins, .parts = plan.parts};
  const auto shape = [](int64_t grid) { return LaunchShape{.grid = unsigned(grid), .block = kSplitThreads, .dependent = true}; };
  const LaunchShape all = shape(rows.rows * plan.parts);
  SLUICE_RETURN_IF_ERROR(launch(ctx, topk_clear_kernel, shape(ceil_div(bins, kSplitThreads)), split.histograms, bins));
  SLUICE_RETURN_IF_ERROR(launch(ctx, topk_digit_kernel<0>, all, rows, split));
  SLUICE_RETURN_IF_ERROR(launch(ctx, topk_digit_kernel<1>, all, rows, split));
  SLUICE_RETURN_IF_ERROR(launch(ctx, topk_digit_kernel<2>, all, rows, split));
  SLUICE_RETURN_IF_ERROR(launch(ctx, topk_count_kernel, all, rows, split));
  return launch(ctx, topk_write_kernel, all, rows, split);
}

}  // namespace

size_t index_topk_cuda_workspace(const Context& ctx, const IndexTopkArgs& args) {
  const TopkRows rows(args);
  if (rows.rows == 0 || rows.k == 0) return 0;
  const Plan plan = plan_of(ctx, rows);
  return plan.blocks ? 0 : size_t(rows.rows * (kAllBins + 2 * plan.parts)) * sizeof(uint32_t);
}

Status index_topk_cuda(Context& ctx, const IndexTopkArgs& args, std::byte* scratch) {
  const TopkRows rows(args);
  if (rows.rows == 0 || rows.k == 0) return {};
  const Plan plan = plan_of(ctx, rows);
  if (rows.rows * (plan.blocks ? plan.blocks : plan.parts) > INT_MAX)
    return {Code::kUnsupported, "index_topk: " + std::to_string(rows.rows) + " rows are more than one launch takes"};
  return plan.blocks ? launch_rows(ctx, rows, plan) : launch_split(ctx, rows, plan, scratch);
}

}  // namespace sluice
