// A warp has a token and takes its keys sixteen at a time: a tile, a row of the tensor cores' product a key, a column a head. The
// token's queries stay in registers. A thread copies the bytes of keys that it will multiply, and no others, to its own places in
// shared memory a few tiles ahead; so warps never wait for each other. Where tokens share keys, a block's warps have neighbouring
// tokens and find the keys in the first-level cache; else they take turns at one token's tiles.
#include <algorithm>
#include <climits>
#include <cmath>

#include "base/checked.h"
#include "core/cuda/launch.h"
#include "ops/index_logits/forms.h"
#include "ops/index_logits/keys.h"
#include "ops/index_logits/operand.cuh"
#include "ops/index_logits/types.h"

namespace sluice {
namespace {

using namespace cuda;
using namespace logits;

constexpr int kThreads = 128, kWarps = kThreads / kWarp;
constexpr int kTile = 16;     // keys
constexpr int kHeadTile = 8;  // heads

// How a call is cut into blocks: each has `rows` neighbouring tokens, a power of two up to kWarps, and `columns` of the output, a
// multiple of kTile.
struct Blocks {
  int rows;
  int64_t columns, across;  // across: blocks of a token
};

// A block's columns that a token sees, [begin, end) within [first, last). Numbers of keys and columns are below 2^31.
struct Columns {
  uint32_t first, last, begin, end;
  __device__ Columns(const IndexLogits& p, int64_t token, int64_t first_column, int64_t columns) {
    const KeyRange seen = p.seen(token);
    first = uint32_t(first_column), last = uint32_t(min(first_column + columns, p.width));
    begin = max(first, min(uint32_t(seen.begin), last)), end = max(begin, min(uint32_t(seen.end), last));
  }
  __device__ bool sees(uint32_t key) const { return key >= begin && key < end; }
};

// -inf where the token sees no key, by one of the `shares` warps that have the token.
__device__ void clean(const IndexLogits& p, int64_t token, const Columns& c, int share, int shares) {
  const int lane = int(threadIdx.x) % kWarp;
  float* row = p.logits + token * p.logits_row;
  for (uint32_t j = c.first + share * kWarp + lane; j < c.last; j += shares * kWarp)
    if (!c.sees(j)) row[j] = -INFINITY;
}

// --- tensor cores ---

// A token's queries and weights, as a warp's threads hold them: thread 4 g + c has the c-th quarters of heads 8 n + g, and the
// weights of heads 8 n + 2 c and 8 n + 2 c + 1. Heads that are not there have zeros.
template <class X, int kDim, int kHeadTiles>
struct Queries {
  Four q[kHeadTiles][kDim / 16];
  float weight[kHeadTiles][2];

  __device__ Queries(const IndexLogits& p, int64_t token) {
    using P = Piece<X, kDim>;
    const int lane = int(threadIdx.x) % kWarp, g = lane / 4, c = lane % 4;
#pragma unroll
    for (int n = 0; n < kHeadTiles; ++n) {
      const int head = n * kHeadTile + g;
#pragma unroll
      for (int i = 0; i < P::kPieces; ++i) {
        P piece;
        if (head < p.heads) piece.load(p.q + token * p.q_row + head * p.q_head + c * P::kQuarter + i * P::kBytes);
#pragma unroll
        for (int s = 0; s < P::kSteps; ++s) q[n][i * P::kSteps + s] = piece.step(s);
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = n * kHeadTile + 2 * c + i;
        weight[n][i] = column < p.heads ? p.weights[token * p.weights_row + column] : 0;
      }
    }
  }
};

// Copies of a thread's bytes of coming tiles: its quarters of keys g and g + 8 of each.
template <class X, int kDim>
struct Ring {
  using P = Piece<X, kDim>;
  static constexpr int kStages = sizeof(X) == 1 ? 4 : 3;  // tiles on their way or at work
  static constexpr int kStageBytes = 2 * P::kQuarter * kThreads;

  const std::byte* memory;  // of this thread, piece by piece kThreads apart

  __device__ explicit Ring(std::byte* ring) : memory(ring + threadIdx.x * P::kBytes) {}
  __device__ const std::byte* place(int stage, int half, int piece) const {
    return memory + stage * kStageBytes + (half * P::kPieces + piece) * kThreads * P::kBytes;
  }
  __device__ void copy(int stage, int half, const std::byte* quarter) const {
#pragma unroll
    for (int i = 0; i < P::kPieces; ++i)
      ptx::copy_async<P::kBytes>(ptx::shared_address(place(stage, half, i)), quarter + i * P::kBytes);
  }
  __device__ P piece(int stage, int half, int i) const {
    P p;
    p.load(place(stage, half, i));
    return p;
  }
};

// The two keys of a tile that a thread brings, g and g + 8, with the pages that they lie in.
struct TileKeys {
  uint32_t low;
  int32_t page_of_low = 0, page_of_high = 0;

  __device__ TileKeys(const IndexLogits& p, int64_t sequence, uint32_t tile, const Columns& c)
      : low(tile * kTile + threadIdx.x % kWarp / 4) {
    if (!p.keys.table) return;
    if (c.sees(low)) page_of_low = p.keys.page_of(sequence, low);
    if (c.sees(low + 8)) page_of_high = p.keys.page_of(sequence, low + 8);
  }
  template <class R>
  __device__ void copy(const IndexLogits& p, const Columns& c, const R& ring, int stage) const {
    const int at = int(threadIdx.x) % 4 * R::P::kQuarter;
    if (c.sees(low)) ring.copy(stage, 0, p.keys.row(page_of_low, low) + at);
    if (c.sees(low + 8)) ring.copy(stage, 1, p.keys.row(page_of_high, low + 8) + at);
  }
  // Of the key that the thread writes: thread 4 g writes g, thread 4 g + 1 g + 8.
  __device__ float scale(const IndexLogits& p, const Columns& c) const {
    const bool high = threadIdx.x % 2;
    const uint32_t key = high ? low + 8 : low;
    const float* scale = c.sees(key) ? p.keys.scale(high ? page_of_high : page_of_low, key) : nullptr;
    return scale ? *scale : 1;
  }
};

// The logits, but for the keys' scales, of a tile's keys g and g + 8, in all threads of their group.
template <class X, int kDim, int kHeadTiles>
__device__ float2 tile_logits(const Queries<X, kDim, kHeadTiles>& queries, const Ring<X, kDim>& ring, int stage) {
  using P = Piece<X, kDim>;
  float dot[kHeadTiles][4] = {};
#pragma unroll
  for (int i = 0; i < P::kPieces; ++i) {
    const P low = ring.piece(stage, 0, i), high = ring.piece(stage, 1, i);
#pragma unroll
    for (int s = 0; s < P::kSteps; ++s) {
      const Four a = low.step(s), b = high.step(s);
      const uint32_t keys[4] = {a.low, b.low, a.high, b.high};
#pragma unroll
      for (int n = 0; n < kHeadTiles; ++n) multiply(static_cast<X*>(nullptr), dot[n], keys, queries.q[n][i * P::kSteps + s]);
    }
  }
  float2 sum{0, 0};
#pragma unroll
  for (int n = 0; n < kHeadTiles; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum.x = fmaf(queries.weight[n][i], ptx::max_nan(dot[n][i], 0), sum.x);
      sum.y = fmaf(queries.weight[n][i], ptx::max_nan(dot[n][2 + i], 0), sum.y);
    }
#pragma unroll
  for (int d = 1; d < 4; d *= 2) {
    sum.x += __shfl_xor_sync(0xffffffffu, sum.x, d);
    sum.y += __shfl_xor_sync(0xffffffffu, sum.y, d);
  }
  return sum;
}

template <class X, int kDim, int kHeadTiles>
__device__ void score_tiles(const IndexLogits& p, int64_t token, const Columns& c, int share, int shares, std::byte* memory) {
  using R = Ring<X, kDim>;
  constexpr int kAhead = R::kStages - 1;
  const R ring(memory);
  const Queries<X, kDim, kHeadTiles> queries(p, token);
  const int64_t sequence = p.sequence(token);
  float* logits = p.logits + token * p.logits_row;
  const uint32_t first = c.begin / kTile + share, last = (c.end + kTile - 1) / kTile;
  uint32_t next = first;                // the tile to copy
  TileKeys keys(p, sequence, next, c);  // ahead of the copies, which would wait for the numbers of pages
  float scale[R::kStages];
  const auto copy_next = [&](int stage) {
    keys.copy(p, c, ring, stage);
    scale[stage] = keys.scale(p, c);
    ptx::cp_async_commit();
    keys = TileKeys(p, sequence, next += shares, c);
  };
#pragma unroll
  for (int stage = 0; stage < kAhead; ++stage) copy_next(stage);
  for (uint32_t tile = first; tile < last;) {
#pragma unroll
    for (int stage = 0; stage < R::kStages; ++stage, tile += shares) {
      if (tile >= last) break;
      copy_next((stage + kAhead) % R::kStages);
      ptx::cp_async_wait<kAhead>();
      const float2 sum = tile_logits(queries, ring, stage);
      const uint32_t lane = threadIdx.x % kWarp, key = tile * kTile + lane / 4 + 8 * (lane % 4);
      if (lane % 4 < 2 && c.sees(key)) logits[key] = (lane % 4 == 0 ? sum.x : sum.y) * scale[stage];
    }
  }
  ptx::cp_async_wait<0>();
}

// Of a multiprocessor: as many as hold their queries in registers.
constexpr int blocks_at_once(int head_tiles) { return head_tiles > 4 ? 2 : head_tiles > 2 ? 3 : 4; }

template <class X, int kDim, int kHeadTiles>
__global__ void __launch_bounds__(kThreads, blocks_at_once(kHeadTiles))
    logits_mma_kernel(const __grid_constant__ IndexLogits p, const Blocks blocks) {
  extern __shared__ uint4 memory[];
  wait_for_previous_kernel();
  const int warp = int(threadIdx.x) / kWarp, share = warp / blocks.rows, shares = kWarps / blocks.rows;
  const int64_t token = blockIdx.x / blocks.across * blocks.rows + warp % blocks.rows;
  if (token < p.tokens) {
    const Columns c(p, token, blockIdx.x % blocks.across * blocks.columns, blocks.columns);
    if (p.clean) clean(p, token, c, share, shares);
    if (c.begin < c.end) score_tiles<X, kDim, kHeadTiles>(p, token, c, share, shares, reinterpret_cast<std::byte*>(memory));
  }
}

// --- any type, address and number of heads ---

// A thread has a key, a column of shared memory; the token's queries come there four heads at a time.
template <class X, int kDim>
__global__ void __launch_bounds__(kThreads) logits_plain_kernel(const __grid_constant__ IndexLogits p, const Blocks blocks) {
  extern __shared__ float columns[];  // [kDim][kThreads]
  __shared__ float4 query[kDim];
  wait_for_previous_kernel();
  const int64_t token = blockIdx.x / blocks.across;
  const Columns c(p, token, blockIdx.x % blocks.across * kThreads, kThreads);
  if (p.clean) clean(p, token, c, int(threadIdx.x) / kWarp, kWarps);
  const uint32_t key = c.first + threadIdx.x;
  const bool seen = c.sees(key);
  const int32_t page = seen ? p.keys.page_of(p.sequence(token), key) : 0;
  const X* k = reinterpret_cast<const X*>(p.keys.row(page, key));  // read where seen
#pragma unroll 8
  for (int d = 0; d < kDim; ++d) columns[d * kThreads + threadIdx.x] = seen ? to_float(k[d]) : 0;
  const float* weights = p.weights + token * p.weights_row;
  float sum = 0;
  for (int64_t h = 0; h < p.heads; h += 4) {
    const auto element = [&](int64_t head) {
      return head < p.heads ? to_float(reinterpret_cast<const X*>(p.q + token * p.q_row + head * p.q_head)[threadIdx.x]) : 0;
    };
    __syncthreads();
    if (threadIdx.x < kDim) query[threadIdx.x] = make_float4(element(h), element(h + 1), element(h + 2), element(h + 3));
    __syncthreads();
    float4 dot{};
#pragma unroll 8
    for (int d = 0; d < kDim; ++d) {
      const float4 q = query[d];
      const float x = columns[d * kThreads + threadIdx.x];
      dot.x = fmaf(q.x, x, dot.x), dot.y = fmaf(q.y, x, dot.y), dot.z = fmaf(q.z, x, dot.z), dot.w = fmaf(q.w, x, dot.w);
    }
    const auto add = [&](int64_t head, float x) {
      if (head < p.heads) sum = fmaf(weights[head], ptx::max_nan(x, 0), sum);
    };
    add(h, dot.x), add(h + 1, dot.y), add(h + 2, dot.z), add(h + 3, dot.w);
  }
  const float* scale = seen ? p.keys.scale(page, key) : nullptr;
  if (seen) p.logits[token * p.logits_row + key] = sum * (scale ? *scale : 1);
}

// --- launches ---

// Whether every quarter of every row can be loaded as Piece::load does.
bool has_wide_runs(const IndexLogitsArgs& args) {
  if (args.q.dtype == DType::kF32 || args.q.dim(1) > 64) return false;
  const int64_t run = args.q.dim(2) / 4 * int64_t(dtype_size(args.q.dtype)), unit = std::min<int64_t>(run, 16);
  const auto wide = [&](const Tensor& t) {
    bool yes = reinterpret_cast<uintptr_t>(t.data) % size_t(unit) == 0;
    for (int d = 0; d + 1 < t.rank; ++d) yes = yes && (t.shape[d] <= 1 || t.stride[d] * int64_t(dtype_size(t.dtype)) % unit == 0);
    return yes;
  };
  return wide(args.q) && wide(args.k.present() ? args.k : args.cache);
}

// Tokens of one matrix share keys, as those of a sequence do. Blocks are many enough for the GPU and long enough for their queries.
Blocks blocks_of(const Context& ctx, const IndexLogits& p) {
  const int64_t together = p.keys.table ? p.next_n : p.tokens;
  Blocks b{.rows = 1};
  while (b.rows < kWarps && b.rows * 2 <= together) b.rows *= 2;
  const int64_t step = kTile * (kWarps / b.rows), row_blocks = ceil_div(p.tokens, b.rows);
  const int64_t wanted = ceil_div(p.width * row_blocks, 4 * int64_t(ctx.gpu->sms));
  b.columns = std::clamp<int64_t>(round_up(wanted, step), 8 * step, 64 * step);
  b.across = ceil_div(p.width, b.columns);
  return b;
}

LaunchShape shape_of(int64_t blocks, size_t shared) {
  return {.grid = unsigned(blocks), .block = kThreads, .shared = shared, .dependent = true};
}

template <class X, int kDim>
Status launch_mma(const Context& ctx, const IndexLogits& p) {
  const Blocks b = blocks_of(ctx, p);
  const LaunchShape shape =
      shape_of(ceil_div(p.tokens, b.rows) * b.across, size_t(Ring<X, kDim>::kStages) * size_t(Ring<X, kDim>::kStageBytes));
  if (p.heads <= 16) return launch(ctx, logits_mma_kernel<X, kDim, 2>, shape, p, b);
  if (p.heads <= 32) return launch(ctx, logits_mma_kernel<X, kDim, 4>, shape, p, b);
  return launch(ctx, logits_mma_kernel<X, kDim, 8>, shape, p, b);
}

template <class X, int kDim>
Status launch_dim(const Context& ctx, const IndexLogitsArgs& args, const IndexLogits& p) {
  if constexpr (sizeof(X) < 4)
    if (has_wide_runs(args)) return launch_mma<X, kDim>(ctx, p);
  const Blocks b{.rows = 1, .columns = kThreads, .across = ceil_div(p.width, kThreads)};
  return launch(ctx, logits_plain_kernel<X, kDim>, shape_of(p.tokens * b.across, size_t(kDim) * kThreads * sizeof(float)), p, b);
}

}  // namespace

Status index_logits_cuda(Context& ctx, const IndexLogitsArgs& args, std::byte*) {
  const IndexLogits p(args);
  if (p.tokens == 0 || p.width == 0) return {};
  if (ceil_div(p.width, kTile) > INT_MAX / p.tokens)
    return {Code::kUnsupported, "index_logits: " + std::to_string(p.tokens) + " x " + std::to_string(p.width) +
                                    " logits are more than one launch takes"};
  return visit_index_type(args.q.dtype, [&]<class X>(X*) {
    switch (args.q.dim(2)) {
      case 32:
        return launch_dim<X, 32>(ctx, args, p);
      case 64:
        return launch_dim<X, 64>(ctx, args, p);
      default:
        return launch_dim<X, 128>(ctx, args, p);
    }
  });
}

}  // namespace sluice
