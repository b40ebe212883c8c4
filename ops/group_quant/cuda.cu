// A warp has a chunk of 512 elements of a row, all of whose loads are on their way together. With masked_m the chunks of all
// experts' rows are numbered one after another, and each warp finds its own from the counts: a long expert's rows are spread over
// the device, and rows that do not count cost nothing. Bound by memory.
#include <algorithm>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "ops/group_quant/forms.h"
#include "ops/group_quant/quantise.cuh"
#include "ops/silu_mul/silu.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
// Blocks of a multiprocessor at once, by which the registers are dealt out.
template <class X>
constexpr int kBlocks = sizeof(X) == 4 ? 8 : 12;
constexpr int kMaskedBlocks = 8;

struct GroupQuant {
  const void* x;
  int64_t x_outer, x_inner;  // strides
  const int32_t* masked_m;
  int64_t masked_step;
  uint32_t experts, rows;  // rows of an expert in memory
  uint32_t row_chunks, expert_chunks;
  Divider by_row, by_expert;  // chunks
  GroupsView out;
};

// Chunk `i` of an expert.
__device__ Chunk chunk_of_expert(const GroupQuant& a, uint32_t expert, uint32_t i) {
  const uint32_t row = a.by_row.divide(i);
  return {.outer = expert, .inner = row, .begin = int(i - row * a.row_chunks) * kChunkElements};
}

// The experts of a warp's next chunks, 32 at a time: a lane knows where its expert's chunks end. Chunks are asked for in rising
// order.
class ExpertChunks {
 public:
  __device__ explicit ExpertChunks(const GroupQuant& a) : a_(a) { load(0, 0); }

  // False behind the last chunk. The whole warp asks.
  __device__ bool find(uint32_t i, Chunk& found) {
    while (i >= last_) {
      if (first_ + kWarp >= a_.experts) return false;
      load(first_ + kWarp, last_);
    }
    const int in_window = __popc(__ballot_sync(0xffffffffu, end_ <= i));  // ends rise: experts before the chunk's
    const uint32_t begin = __shfl_sync(0xffffffffu, begin_, in_window);
    found = chunk_of_expert(a_, first_ + in_window, i - begin);
    return true;
  }

 private:
  __device__ void load(uint32_t first, uint32_t before) {
    const uint32_t lane = threadIdx.x % kWarp, expert = first + lane;
    const uint32_t rows = expert < a_.experts ? min(uint32_t(max(a_.masked_m[expert * a_.masked_step], 0)), a_.rows) : 0;
    first_ = first;
    end_ = rows * a_.row_chunks;
#pragma unroll
    for (uint32_t apart = 1; apart < kWarp; apart *= 2) {
      const uint32_t lower = __shfl_up_sync(0xffffffffu, end_, apart);
      if (lane >= apart) end_ += lower;
    }
    end_ += before;
    begin_ = end_ - rows * a_.row_chunks;
    last_ = __shfl_sync(0xffffffffu, end_, kWarp - 1);
  }

  const GroupQuant& a_;
  uint32_t first_, begin_, end_, last_;
};

template <class X, bool kSilu, bool kWide>
__device__ void quantise(const GroupQuant& a, const Chunk& chunk) {
  Run<X> v[kHalves], up[kHalves];
  const X* x = static_cast<const X*>(a.x) + chunk.outer * a.x_outer + chunk.inner * a.x_inner + chunk.begin;
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int d = run_of_half(half), n = chunk.begin + d < a.out.length ? kRun : 0;
    v[half] = load_run(x + d, n, kWide);
    if constexpr (kSilu) up[half] = load_run(x + d + a.out.length, n, kWide);
  }
  if constexpr (kSilu) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float product[kRun];
#pragma unroll
      for (int i = 0; i < kRun; ++i) product[i] = silu_times(element(v[half], i), element(up[half], i));
      v[half] = rounded<X>(product);
    }
  }
  quantise_chunk<kWide>(a.out, chunk, [&](int half, int i) { return element(v[half], i); });
}

template <class X, bool kSilu, bool kWide>
__global__ void __launch_bounds__(kThreads, kBlocks<X>) group_quant_kernel(const __grid_constant__ GroupQuant a) {
  const uint32_t i = blockIdx.x * kWarps + threadIdx.x / kWarp, expert = a.by_expert.divide(i);
  const Chunk chunk = chunk_of_expert(a, expert, i - expert * a.expert_chunks);
  wait_for_previous_kernel();
  if (expert < a.experts) quantise<X, kSilu, kWide>(a, chunk);
}

// Few chunks are of many blocks, and so multiprocessors.
template <class X, bool kSilu, bool kWide>
__global__ void __launch_bounds__(kThreads, kMaskedBlocks) group_quant_masked_kernel(const __grid_constant__ GroupQuant a) {
  const uint32_t step = gridDim.x * kWarps;
  uint32_t i = threadIdx.x / kWarp * gridDim.x + blockIdx.x;
  wait_for_previous_kernel();
  ExpertChunks chunks(a);
  for (Chunk found; chunks.find(i, found); i += step) quantise<X, kSilu, kWide>(a, found);
}

template <class X, bool kSilu, bool kWide>
Status launch_chunks(const Context& ctx, const GroupQuant& a) {
  const int64_t blocks = ceil_div(int64_t(a.experts) * a.expert_chunks, kWarps), resident = int64_t(ctx.gpu->sms) * kMaskedBlocks;
  const auto shape = [](int64_t grid) { return LaunchShape{.grid = unsigned(grid), .block = kThreads, .dependent = true}; };
  if (a.masked_m) return launch(ctx, group_quant_masked_kernel<X, kSilu, kWide>, shape(std::min(blocks, resident)), a);
  return launch(ctx, group_quant_kernel<X, kSilu, kWide>, shape(blocks), a);
}

}  // namespace

Status group_quant_cuda(Context& ctx, const GroupQuantArgs& args, std::byte*) {
  const Tensor& x = args.x;
  const bool three = x.rank == 3, masked = args.masked_m.present();
  const int64_t experts = three ? x.shape[0] : 1, rows = x.shape[x.rank - 2],
                row_chunks = ceil_div(args.out.q.shape[args.out.q.rank - 1], int64_t(kChunkElements));
  if (experts * rows * row_chunks == 0) return {};
  const GroupQuant a{.x = x.data,
                     .x_outer = three ? x.stride[0] : 0,
                     .x_inner = x.stride[x.rank - 2],
                     .masked_m = masked ? args.masked_m.as<int32_t>() : nullptr,
                     .masked_step = masked ? args.masked_m.stride[0] : 0,
                     .experts = uint32_t(experts),
                     .rows = uint32_t(rows),
                     .row_chunks = uint32_t(row_chunks),
                     .expert_chunks = uint32_t(rows * row_chunks),
                     .by_row = Divider(row_chunks),
                     .by_expert = Divider(rows * row_chunks),
                     .out = GroupsView(args.out)};
  const bool wide = wide_runs(x) && a.out.wide;
  return visit_group_quant_input(x, [&]<class X>(X*) {
    const auto launch_of = [&]<bool kSilu>() {
      return wide ? launch_chunks<X, kSilu, true>(ctx, a) : launch_chunks<X, kSilu, false>(ctx, a);
    };
    return args.silu_mul ? launch_of.template operator()<true>() : launch_of.template operator()<false>();
  });
}

}  // namespace sluice
