// A warp has a tile: 512 elements of a few neighbouring rows, all of whose loads are on their way together. With masked_m the tiles
// of all experts' rows are numbered one after another, and each warp finds its own from the counts: a long expert's rows are spread
// over the device, and rows that do not count cost nothing. Bound by memory.
#include <algorithm>
#include <climits>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "ops/group_quant/forms.h"
#include "ops/group_quant/quantise.cuh"
#include "ops/silu_mul/silu.cuh"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kThreads = 128, kWarps = kThreads / kWarp, kBlocks = 6;  // of a multiprocessor at once

// Rows of a tile: 128 bytes a thread.
template <class X, bool kSilu>
constexpr int kTileRows = 8 / int(sizeof(X)) / (kSilu ? 2 : 1);

struct GroupQuant {
  const void* x;
  int64_t x_outer, x_inner;  // strides
  const int32_t* masked_m;
  int64_t masked_step;
  int64_t experts, rows;         // rows of an expert in memory
  int64_t chunks, expert_tiles;  // of a row; of an expert with all its rows
  int tile_rows;                 // at most kTileRows
  GroupsView out;
};

// Tile `tile` of an expert that has `rows` rows.
__device__ ChunkRows tile_of_expert(const GroupQuant& a, int64_t expert, int64_t tile, int64_t rows) {
  const int64_t of_rows = divide(tile, a.chunks), row = of_rows * a.tile_rows;
  return {.outer = expert,
          .inner = row,
          .count = int(min(rows - row, int64_t(a.tile_rows))),
          .begin = (tile - of_rows * a.chunks) * kChunkElements};
}

// The experts of a warp's next tiles, 32 at a time: a lane knows where its expert's tiles end. Tiles are asked for in rising order.
class ExpertTiles {
 public:
  __device__ explicit ExpertTiles(const GroupQuant& a) : a_(a) { load(0, 0); }

  // False behind the last tile. The whole warp asks.
  __device__ bool find(int64_t tile, ChunkRows& found) {
    while (tile >= last_) {
      if (first_ + kWarp >= a_.experts) return false;
      load(first_ + kWarp, last_);
    }
    const int in_window = __popc(__ballot_sync(0xffffffffu, end_ <= tile));  // ends rise: experts before the tile's
    const int64_t rows = __shfl_sync(0xffffffffu, rows_, in_window), tiles = tiles_of(rows);
    const int64_t begin = __shfl_sync(0xffffffffu, end_, in_window) - tiles;
    found = tile_of_expert(a_, first_ + in_window, tile - begin, rows);
    return true;
  }

 private:
  __device__ int64_t tiles_of(int64_t rows) const { return divide(rows + a_.tile_rows - 1, a_.tile_rows) * a_.chunks; }
  __device__ void load(int64_t first, int64_t before) {
    const int lane = int(threadIdx.x) % kWarp;
    const int64_t expert = first + lane;
    first_ = first;
    rows_ = expert < a_.experts ? min(max(int64_t(a_.masked_m[expert * a_.masked_step]), int64_t(0)), a_.rows) : 0;
    end_ = tiles_of(rows_);
#pragma unroll
    for (int apart = 1; apart < kWarp; apart *= 2) {
      const int64_t lower = __shfl_up_sync(0xffffffffu, end_, apart);
      if (lane >= apart) end_ += lower;
    }
    end_ += before;
    last_ = __shfl_sync(0xffffffffu, end_, kWarp - 1);
  }

  const GroupQuant& a_;
  int64_t first_, rows_, end_, last_;
};

template <class X, bool kSilu, bool kWide>
__device__ void quantise_tile(const GroupQuant& a, const ChunkRows& tile) {
  constexpr int kRows = kTileRows<X, kSilu>;
  Run<X> v[kRows][kHalves], up[kSilu ? kRows : 1][kHalves];
  const X* x = static_cast<const X*>(a.x) + tile.outer * a.x_outer + tile.inner * a.x_inner + tile.begin;
#pragma unroll
  for (int r = 0; r < kRows; ++r)
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int d = run_of_half(half), n = r < tile.count && tile.begin + d < a.out.length ? kRun : 0;
      const X* from = x + r * a.x_inner + d;
      v[r][half] = load_run(from, n, kWide);
      if constexpr (kSilu) up[r][half] = load_run(from + a.out.length, n, kWide);
    }
  if constexpr (kSilu) {
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        float product[kRun];
#pragma unroll
        for (int i = 0; i < kRun; ++i) product[i] = silu_times(element(v[r][half], i), element(up[r][half], i));
        v[r][half] = rounded<X>(product);
      }
  }
  quantise_chunk<kRows, kWide>(a.out, tile, [&](int r, int half, int i) { return element(v[r][half], i); });
}

template <class X, bool kSilu, bool kWide>
__global__ void __launch_bounds__(kThreads, kBlocks) group_quant_kernel(const __grid_constant__ GroupQuant a) {
  wait_for_previous_kernel();
  const int64_t step = int64_t(gridDim.x) * kWarps;
  int64_t tile = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (a.masked_m) {
    ExpertTiles experts(a);
    for (ChunkRows found; experts.find(tile, found); tile += step) quantise_tile<X, kSilu, kWide>(a, found);
  } else {
    for (; tile < a.experts * a.expert_tiles; tile += step) {
      const int64_t expert = divide(tile, a.expert_tiles);
      quantise_tile<X, kSilu, kWide>(a, tile_of_expert(a, expert, tile - expert * a.expert_tiles, a.rows));
    }
  }
}

// Few rows make many tiles of one row each.
int rows_of_tile(const Context& ctx, int64_t rows, int64_t chunks, int most) {
  constexpr int64_t kEnough = 16;  // warps of a multiprocessor
  return rows * chunks / most < ctx.gpu->sms * kEnough ? 1 : most;
}

}  // namespace

Status group_quant_cuda(Context& ctx, const GroupQuantArgs& args, std::byte*) {
  const Tensor& x = args.x;
  const bool three = x.rank == 3, masked = args.masked_m.present();
  GroupQuant a{.x = x.data,
               .x_outer = three ? x.stride[0] : 0,
               .x_inner = x.stride[x.rank - 2],
               .masked_m = masked ? args.masked_m.as<int32_t>() : nullptr,
               .masked_step = masked ? args.masked_m.stride[0] : 0,
               .experts = three ? x.shape[0] : 1,
               .rows = x.shape[x.rank - 2],
               .out = GroupsView(args.out)};
  a.chunks = ceil_div(a.out.length, kChunkElements);
  const bool wide = wide_runs(x) && a.out.wide;
  return visit_group_quant_input(x, [&]<class X>(X*) {
    const auto launch_tiles = [&]<bool kSilu>() {
      a.tile_rows = rows_of_tile(ctx, a.experts * a.rows, a.chunks, kTileRows<X, kSilu>);
      a.expert_tiles = ceil_div(a.rows, a.tile_rows) * a.chunks;
      const int64_t blocks = ceil_div(a.experts * a.expert_tiles, kWarps), resident = int64_t(ctx.gpu->sms) * kBlocks;
      const LaunchShape shape{
          .grid = unsigned(std::min<int64_t>(blocks, masked ? resident : INT_MAX)), .block = kThreads, .dependent = true};
      return wide ? launch(ctx, group_quant_kernel<X, kSilu, true>, shape, a)
                  : launch(ctx, group_quant_kernel<X, kSilu, false>, shape, a);
    };
    return args.silu_mul ? launch_tiles.template operator()<true>() : launch_tiles.template operator()<false>();
  });
}

}  // namespace sluice
