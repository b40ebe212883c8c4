// Rows appended to the open chunk of one value head by one block, for gdn_decode, gdn_verify, gdn_decode_classic and gdn_step on
// GPUs.
//
// S and the open rows are on their way before anything else is done; meanwhile the block makes k, q and v. Then each warp takes its
// rows of S: their products with k and q, all from the old state. Then a thread solves for one element of u and o: the sums over
// the open rows, and the new rows one after the other. Where the chunk is full, the warps take their rows of S again and close it.
// The classic form is a chunk of one row: appended and closed at once, with no rows to keep.
#pragma once

#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "ops/gdn_chunk/tile.cuh"
#include "ops/gdn_chunk/view.h"

namespace sluice::gdn::gpu {

// One layer's pool. The classic form has s alone, and R is 1.
struct Pool {
  void* s = nullptr;
  float *k = nullptr, *u = nullptr, *g = nullptr;
  int64_t s_pitch = 0, k_pitch = 0, u_pitch = 0, g_pitch = 0;  // elements from slot to slot
  int S = 0, HK = 0, HV = 0, K = 0, V = 0, R = 1;
};

// Which rows of the call belong to which sequence, and where it stands.
struct Sequences {
  const int32_t* cu_seqlens = nullptr;  // null: sequence b is row b alone, as where a kernel was compiled for one row
  const int32_t* start = nullptr;       // null: the classic form without positions
  const int32_t* slots = nullptr;
  const int32_t* has_state = nullptr;  // null: a sequence is new where start is 0
};

// Rows [T, H, D] of a call; `vector` where four neighbours may be read at once.
struct CallRows : RowView {
  bool vector = false;
};

// Numbers of either type as they lie in memory: one that is widened at once would be waited for before the next is asked for.
__device__ inline uint32_t raw1(const void* p, bool bf16, int64_t at) {
  return bf16 ? uint32_t(static_cast<const uint16_t*>(p)[at]) : static_cast<const uint32_t*>(p)[at];
}
__device__ inline float widen(uint32_t raw, bool bf16) { return __uint_as_float(bf16 ? raw << 16 : raw); }

__device__ inline uint4 raw4(const CallRows& x, int64_t at) {
  if (x.vector && x.bf16) {
    const uint2 v = *reinterpret_cast<const uint2*>(static_cast<const Bf16*>(x.data) + at);
    return {v.x, v.y, 0, 0};
  }
  if (x.vector) return *reinterpret_cast<const uint4*>(static_cast<const float*>(x.data) + at);
  uint32_t one[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) one[i] = raw1(x.data, x.bf16, at + i);
  if (x.bf16) return {one[0] | one[1] << 16, one[2] | one[3] << 16, 0, 0};
  return {one[0], one[1], one[2], one[3]};
}
__device__ inline void widen(const uint4& raw, bool bf16, float (&y)[4]) {
  y[0] = __uint_as_float(bf16 ? raw.x << 16 : raw.x), y[1] = __uint_as_float(bf16 ? raw.x & 0xffff0000u : raw.y);
  y[2] = __uint_as_float(bf16 ? raw.y << 16 : raw.z), y[3] = __uint_as_float(bf16 ? raw.y & 0xffff0000u : raw.w);
}
__device__ inline void load4(const CallRows& x, int64_t at, float (&y)[4]) { widen(raw4(x, at), x.bf16, y); }

__device__ inline void store1(const CallRows& y, int64_t at, float x) {
  if (y.bf16) static_cast<Bf16*>(y.data)[at] = cuda::from_float<Bf16>(x);
  else static_cast<float*>(y.data)[at] = x;
}

__device__ inline void store4(const CallRows& y, int64_t at, const float (&x)[4]) {
  if (!y.vector) {
#pragma unroll
    for (int i = 0; i < 4; ++i) store1(y, at + i, x[i]);
  } else if (y.bf16) {
    store4(static_cast<Bf16*>(y.data) + at, x);
  } else {
    store4(static_cast<float*>(y.data) + at, x);
  }
}

// What a kernel is compiled for: the type of S, K in 32nds at most, K = V where fixed, and whether a sequence has one row.
template <class State, int Columns, int Fixed, bool OneRow>
struct Shape {
  using S = State;
  static constexpr int N = Columns, G = Columns / 4, kColumns = 32 * Columns, D = Fixed;
  static constexpr bool kOneRow = OneRow;
};

// The piece of work of a block: rows [t, t + count) of the call, which become rows n, n + 1, ... of the open chunk.
struct Piece {
  int slot, t, start, head, key_head, n, count;
  bool fresh;      // S is zero, whatever the slot holds
  bool close;      // the chunk is full after it
  bool keeps_key;  // of the value heads that share a key, the one that writes it, unless all need it
};

// A block's shared memory, sized for `drafts` rows at a time.
struct Scratch {
  float* rows;          // [drafts][2][columns]: k_t and q_t, normalised, zeros behind K
  float* value;         // [drafts][V]: v, replaced by u
  float *s_k, *s_q;     // [drafts][V]: S k_t and S q_t
  float *k_k, *q_k;     // [drafts][R]: e^{G_t - G_j} k_t.k_j and q_t.k_j
  float *g, *closing;   // [R]: G; e^{G_last - G_j}
  float *decay, *beta;  // [drafts]: e^{G_t}; beta
  float* gate;          // [V]: gdn_step's output gate
  char* tiles;

  // The arrays one behind the other, 16-byte aligned; returns the bytes before the tiles.
  __host__ __device__ size_t lay_out(char* memory, int K, int V, int R, int drafts) {
    size_t at = 0;
    const int columns = (K + kGroup - 1) / kGroup * kGroup;
    const auto take = [&](int n) {
      float* p = reinterpret_cast<float*>(memory + at);
      at += size_t(n + 3) / 4 * 16;
      return p;
    };
    rows = take(2 * drafts * columns);
    value = take(drafts * V), s_k = take(drafts * V), s_q = take(drafts * V);
    k_k = take(drafts * R), q_k = take(drafts * R);
    g = take(R), closing = take(R), decay = take(drafts), beta = take(drafts), gate = take(V);
    tiles = memory + at;
    return at;
  }
};

// What of a row of the call an operator is asked for.
enum class Part { kKey, kQuery, kValue };

// Rows of a piece.
template <class F>
__device__ int count(const Piece& p) {
  return F::kOneRow ? 1 : p.count;
}

template <class F>
using Stream = TileStream<typename F::S, F::D>;

// A thread's 4 columns of each group of 128.
__device__ inline int group_column(int g) { return 4 * (threadIdx.x % kWarp) + g * kGroup; }

// One warp's k_t or q_t, normalised if asked, into shared memory and, where it is to be kept, into the pool.
template <class F, class Op>
__device__ void prepare_vector(const Op& op, const Piece& p, const Scratch& w, int t, Part part, float* kept) {
  constexpr int G = F::G;
  const int K = fixed<F::D>(op.pool.K);
  float x[G][4] = {}, sum = 0;
#pragma unroll
  for (int g = 0; g < G; ++g) {
    if (group_column(g) < K) op.load(p, t, part, group_column(g), x[g]);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum = fmaf(x[g][i], x[g][i], sum);
  }
  const float scale = op.qk_l2norm ? 1 / sqrtf(cuda::group_sum(sum) + op.l2_eps) : 1;
  float* to = w.rows + (2 * t + (part == Part::kQuery)) * F::kColumns;
#pragma unroll
  for (int g = 0; g < G; ++g) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[g][i] *= scale;
    store4(to + group_column(g), x[g]);
    if (kept && group_column(g) < K) store4(kept + group_column(g), x[g]);
  }
}

template <class F, class Op>
__device__ void prepare_value(const Op& op, const Piece& p, const Scratch& w, int t) {
  const int V = fixed<F::D>(op.pool.V);
  for (int column = 4 * (threadIdx.x % kWarp); column < V; column += kGroup) {
    float x[4];
    op.load(p, t, Part::kValue, column, x);
    store4(w.value + t * V + column, x);
  }
}

// G of the open rows and of the new ones, one warp: a running sum in order of the rows.
template <class F, class Op>
__device__ void prepare_gates(const Op& op, const Piece& p, const Scratch& w, float* g) {
  const int lane = threadIdx.x % kWarp, upper = lane + kWarp;
  const float low = lane < p.n ? g[lane] : 0, high = upper < p.n ? g[upper] : 0;
  float log_g = 0, beta = 0, sum = p.n > 0 ? g[p.n - 1] : 0;
  if (lane < p.count) op.gates(p, lane, log_g, beta);
  if (lane < p.n) w.g[lane] = low;
  if (upper < p.n) w.g[upper] = high;
  for (int t = 0; t < count<F>(p); ++t) {
    sum += __shfl_sync(0xffffffffu, log_g, t);
    if (lane != t) continue;
    w.g[p.n + t] = sum, w.decay[t] = expf(sum), w.beta[t] = beta;
    if (g && op.pool.R > 1) g[p.n + t] = sum;
  }
}

// Phase one: k, q, v and the gates, each by a warp; the last warps first, since the first have open rows to fetch.
template <class F, class Op>
__device__ void prepare(const Op& op, const Piece& p, const Scratch& w, float* keys) {
  const int turn = kWarps - 1 - threadIdx.x / kWarp;
#pragma unroll 1
  for (int job = turn; job < 3 * count<F>(p); job += kWarps) {
    const int t = job / 3;
    if (job % 3 == 2) prepare_value<F>(op, p, w, t);
    else if (job % 3 == 1) prepare_vector<F>(op, p, w, t, Part::kQuery, nullptr);
    else prepare_vector<F>(op, p, w, t, Part::kKey, keys && p.keeps_key ? keys + (p.n + t) * fixed<F::D>(op.pool.K) : nullptr);
  }
  if (turn == 3) prepare_gates<F>(op, p, w, op.pool.g ? op.pool.g + p.slot * op.pool.g_pitch + p.head * op.pool.R : nullptr);
  if (turn == 4) op.prepare(p, w);
}

// Memory that is read later, on its way to the second-level cache.
__device__ inline void prefetch(const void* p, int bytes) {
  constexpr int kLine = 128;  // bytes
#pragma unroll 1
  for (int at = kLine * threadIdx.x; at < bytes; at += kLine * kThreads) cuda::ptx::prefetch_l2(static_cast<const char*>(p) + at);
}

// Open rows that a block fetches at once, into registers: a whole chunk of 16.
inline constexpr int kFetchRows = 16;

// Keys first + warp and first + warp + kWarps, of those before row `rows`.
template <int G>
struct KeyPair {
  static constexpr int kCount = kFetchRows / kWarps;
  float x[kCount][G][4];

  __device__ void fetch(const float* keys, int first, int rows, int K) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int j = first + i * kWarps + threadIdx.x / kWarp;
#pragma unroll
      for (int g = 0; g < G; ++g)
        if (j < rows && group_column(g) < K) load4(keys + j * K + group_column(g), x[i][g]);
        else x[i][g][0] = x[i][g][1] = x[i][g][2] = x[i][g][3] = 0;
    }
  }
};

// Products of the new rows from row t on with key j.
template <class F>
__device__ void multiply_key(const Piece& p, const Scratch& w, const float (&key)[F::G][4], int j, int R) {
  constexpr int G = F::G;
#pragma unroll 1
  for (int t = max(0, j - p.n); t < count<F>(p); ++t) {
    float k_k = 0, q_k = 0;
#pragma unroll
    for (int g = 0; g < G; ++g) {
      float k[4], q[4];
      load4(w.rows + 2 * t * G * kGroup + group_column(g), k), load4(w.rows + (2 * t + 1) * G * kGroup + group_column(g), q);
#pragma unroll
      for (int i = 0; i < 4; ++i) k_k = fmaf(k[i], key[g][i], k_k), q_k = fmaf(q[i], key[g][i], q_k);
    }
    k_k = cuda::group_sum(k_k), q_k = cuda::group_sum(q_k);
    const float decay = expf(w.g[p.n + t] - w.g[j]);
    if (threadIdx.x % kWarp == 0) w.k_k[t * R + j] = decay * k_k, w.q_k[t * R + j] = decay * q_k;
  }
}

// Phase two: products of the new rows with all keys up to their own, a warp a key; the weights of a closing.
template <class F, class Op>
__device__ void multiply_keys(const Op& op, const Piece& p, const Scratch& w, const float* keys, KeyPair<F::G>& pair) {
  constexpr int G = F::G;
  const int warp = threadIdx.x / kWarp, K = fixed<F::D>(op.pool.K), R = op.pool.R, rows = p.n + p.count;
#pragma unroll 1
  for (int first = 0; first < p.n; first += kFetchRows) {
    if (first > 0) pair.fetch(keys, first, p.n, K);
#pragma unroll
    for (int i = 0; i < pair.kCount; ++i)
      if (const int j = first + i * kWarps + warp; j < p.n) multiply_key<F>(p, w, pair.x[i], j, R);
  }
#pragma unroll 1
  for (int t = kWarps - 1 - warp; t < count<F>(p); t += kWarps) {
    float key[G][4];
#pragma unroll
    for (int g = 0; g < G; ++g) load4(w.rows + 2 * t * G * kGroup + group_column(g), key[g]);
    multiply_key<F>(p, w, key, p.n + t, R);
  }
#pragma unroll 1
  for (int j = threadIdx.x; p.close && j < rows; j += kThreads) w.closing[j] = expf(w.g[rows - 1] - w.g[j]);
}

// Phase three: products with the old state.
template <class F, class Op>
__device__ void multiply_state(const Op& op, const Piece& p, const Scratch& w, Stream<F>& stream) {
  constexpr int kColumns = F::kColumns;
  const int V = fixed<F::D>(op.pool.V);
#pragma unroll 1
  for (int i = 0; i < stream.count(); ++i) {
    Tile<F::N> x;
    if (p.fresh) x.clear();
    else stream.read(i, x);
    const int row = stream.first_row() + i * kTileRows;
#pragma unroll 1
    for (int t = 0; t < count<F>(p); ++t)
      x.multiply(w.rows + 2 * t * kColumns, w.rows + (2 * t + 1) * kColumns, w.s_k + t * V + row, w.s_q + t * V + row);
  }
}

// Element e of u of some open rows; what lies behind row `rows` is zero.
struct OpenRows {
  float x[kFetchRows];

  __device__ void fetch(const float* u, int first, int rows, int V) {
#pragma unroll
    for (int i = 0; i < kFetchRows; ++i) x[i] = first + i < rows ? u[(first + i) * V] : 0.0f;
  }
};

// Phase four, a thread for element e: u and o of the new rows, one after the other; sums over rows j ascending.
template <class F, class Op>
__device__ void solve(const Op& op, const Piece& p, const Scratch& w, float* u, OpenRows& open, int e) {
  const int V = fixed<F::D>(op.pool.V), R = op.pool.R;
#pragma unroll 1
  for (int t = 0; t < count<F>(p); ++t) {
    const float *k_k = w.k_k + t * R, *q_k = w.q_k + t * R, decay = w.decay[t];
    float known = 0, seen = 0;
#pragma unroll 1
    for (int first = 0; first < p.n; first += kFetchRows) {
      if (p.n > kFetchRows) open.fetch(u + e, first, p.n, V);
#pragma unroll
      for (int i = 0; i < kFetchRows; ++i) {
        if (first + i >= p.n) break;
        known = fmaf(k_k[first + i], open.x[i], known), seen = fmaf(q_k[first + i], open.x[i], seen);
      }
    }
#pragma unroll 1
    for (int i = 0; i < t; ++i) {
      const float earlier = w.value[i * V + e];
      known = fmaf(k_k[p.n + i], earlier, known), seen = fmaf(q_k[p.n + i], earlier, seen);
    }
    const float row = w.beta[t] * (w.value[t * V + e] - fmaf(decay, w.s_k[t * V + e], known));
    const float o = op.scale * fmaf(decay, w.s_q[t * V + e], fmaf(q_k[p.n + t], row, seen));
    w.value[t * V + e] = row;
    if (u) u[(p.n + t) * V + e] = row;
    op.emit(p, w, t, e, o);
  }
}

// Phase five: the closing, and the zeros of a new sequence.
template <class F, class Op>
__device__ void write_state(const Op& op, const Piece& p, const Scratch& w, Stream<F>& stream, typename F::S* s, const float* keys,
                            const float* u) {
  constexpr int kColumns = F::kColumns;
  const int K = fixed<F::D>(op.pool.K), V = fixed<F::D>(op.pool.V);
  if (!p.fresh) stream.again();
#pragma unroll 1
  for (int i = 0; i < stream.count(); ++i) {
    const int row = stream.first_row() + i * kTileRows;
    Tile<F::N> x;
    if (p.fresh) x.clear();
    else stream.read(i, x);
    if (p.close) {
      close_tile<1>(x, w.decay[count<F>(p) - 1], w.closing, p.n, keys, K, u + row, V);
#pragma unroll 1
      for (int t = 0; t < count<F>(p); ++t)
        x.add_product(w.closing[p.n + t], w.value + t * V + row, w.rows + 2 * t * kColumns, kColumns);
    }
    x.store(s + row * K, K);
  }
}

template <class F>
__device__ typename F::S* state_of(const Pool& pool, const Piece& p) {
  return static_cast<typename F::S*>(pool.s) + p.slot * pool.s_pitch + int64_t(p.head) * fixed<F::D>(pool.K) * fixed<F::D>(pool.V);
}

// The open rows' keys and u; null in the classic form.
template <class F>
__device__ float* keys_of(const Pool& pool, const Piece& p) {
  return pool.k ? pool.k + p.slot * pool.k_pitch + int64_t(p.key_head) * pool.R * fixed<F::D>(pool.K) : nullptr;
}
template <class F>
__device__ float* u_of(const Pool& pool, const Piece& p) {
  return pool.u ? pool.u + p.slot * pool.u_pitch + int64_t(p.head) * pool.R * fixed<F::D>(pool.V) : nullptr;
}

template <class F, class Op>
__device__ void append_piece(const Op& op, Piece p, const Scratch& w, Stream<F>& stream) {
  const Pool& pool = op.pool;
  const int K = fixed<F::D>(pool.K), V = fixed<F::D>(pool.V), e = threadIdx.x;
  float* keys = keys_of<F>(pool, p);
  if (!p.fresh) stream.start();
  KeyPair<F::G> pair;
  pair.fetch(keys, 0, p.n, K);
  prefetch(u_of<F>(pool, p), p.n * V * int(sizeof(float)));
  prepare<F>(op, p, w, keys);
  __syncthreads();
  multiply_keys<F>(op, p, w, keys, pair);
  multiply_state<F>(op, p, w, stream);
  cuda::ptx::pin(p.slot);  // addresses are made again: kept, they would be more registers than there are
  float* u = u_of<F>(pool, p);
  OpenRows open;
  open.fetch(u + e, 0, e < V ? p.n : 0, V);
  __syncthreads();
  if (e < V) solve<F>(op, p, w, u, open, e);
  __syncthreads();
  op.finish(p, w);
  if (p.close || p.fresh) write_state<F>(op, p, w, stream, state_of<F>(pool, p), keys_of<F>(pool, p), u);
}

// Blocks of a multiprocessor at once: as many as their shared memory leaves room for, if their registers do. Sizes that the
// compiler does not know take more registers, and so do rows that are made here, and everything on 10.x and up. There is room for
// two with S in fp32 on 8.0, and for one or two on 12.x.
template <class F, class Op>
constexpr int blocks() {
  constexpr bool kFloat = sizeof(typename F::S) == 4;
#if __CUDA_ARCH__ >= 1000
  constexpr bool kFewer = true;
#elif __CUDA_ARCH__ >= 900
  constexpr bool kFewer = F::D > 0 ? kFloat && Op::kMakesRows : kFloat || F::N == 4;
#else
  constexpr bool kFewer = kFloat || F::D == 0;
#endif
  return (F::N == 4 ? 3 : 2) - int(kFewer);
}

// A block has one value head of one sequence; its rows are taken `drafts` at a time.
template <class F, class Op>
__global__ void __launch_bounds__(kThreads, blocks<F, Op>()) append_kernel(const __grid_constant__ Op op) {
  extern __shared__ __align__(128) char memory[];
  cuda::wait_for_previous_kernel();
  const Pool& pool = op.pool;
  const Sequences& q = op.sequences;
  const int b = int(blockIdx.z);
  Piece p{.slot = q.slots[b], .t = F::kOneRow ? b : q.cu_seqlens[b], .start = q.start ? q.start[b] : 0};
  p.head = int(blockIdx.y * gridDim.x + blockIdx.x), p.key_head = int(blockIdx.y);
  int end = F::kOneRow ? b + 1 : q.cu_seqlens[b + 1];
  if (p.slot < 0 || p.slot >= pool.S) return op.clear(p, end);
  p.fresh = q.start && (q.has_state ? q.has_state[b] == 0 : p.start == 0);
  if (p.t == end && !p.fresh) return;
  p.n = p.start & (pool.R - 1);        // R is a power of two
  end = min(end, p.t + pool.R - p.n);  // what the chunk has no room for, which the host cannot see, must not reach another slot
  p.keeps_key = blockIdx.x == 0 || (!F::kOneRow && end - p.t > op.drafts);

  Scratch w;
  w.lay_out(memory, fixed<F::D>(pool.K), fixed<F::D>(pool.V), pool.R, F::kOneRow ? 1 : op.drafts);
  Stream<F> stream(state_of<F>(pool, p), w.tiles, pool.K, pool.V);
  stream.init();
  for (;;) {
    p.count = F::kOneRow ? 1 : min(op.drafts, end - p.t);
    p.close = op.closes && p.n + p.count == pool.R;
    append_piece<F>(op, p, w, stream);
    p.t += p.count, p.n += p.count, p.fresh = false;
    if (F::kOneRow || p.t >= end) return;
    __syncthreads();  // the next rows read what this piece wrote
  }
}

// A block for each value head of each sequence, in order; key heads are the rows of the grid.
inline dim3 launch_grid(const Pool& pool, int64_t B) { return dim3(pool.HV / pool.HK, pool.HK, unsigned(B)); }

// Rows of a call that a block takes in one reading of S: what the sequences have on average, at most 8.
inline int drafts_of(int64_t T, int64_t B) {
  int drafts = 1;
  while (drafts < 8 && drafts * B < T) drafts *= 2;
  return drafts;
}

template <class F, class Op>
Status launch_append(const Context& ctx, const Op& op, int64_t B) {
  const Pool& pool = op.pool;
  const size_t shared = Scratch().lay_out(nullptr, pool.K, pool.V, pool.R, op.drafts) + Stream<F>::shared_bytes(pool.K, pool.V);
  return cuda::launch(ctx, append_kernel<F, Op>,
                      {.grid = launch_grid(pool, B), .block = kThreads, .shared = shared, .dependent = true}, op);
}

// One row a sequence where `kOneRow`. Heads of 128 by 128, those of all models that Sluice knows, have kernels of their own.
template <bool kOneRow, class Op>
Status launch_append(const Context& ctx, const Op& op, DType state, int64_t B) {
  const bool half = state == DType::kBF16;
  if (op.pool.K == 128 && op.pool.V == 128)
    return half ? launch_append<Shape<Bf16, 4, 128, kOneRow>>(ctx, op, B)
                : launch_append<Shape<float, 4, 128, kOneRow>>(ctx, op, B);
  if (op.pool.K <= kGroup)
    return half ? launch_append<Shape<Bf16, 4, 0, kOneRow>>(ctx, op, B) : launch_append<Shape<float, 4, 0, kOneRow>>(ctx, op, B);
  return half ? launch_append<Shape<Bf16, 8, 0, kOneRow>>(ctx, op, B) : launch_append<Shape<float, 8, 0, kOneRow>>(ctx, op, B);
}

}  // namespace sluice::gdn::gpu
