// Rows appended to the open chunk of one value head by one block on compute capability 9.0 and up, K = V = 128: for gdn_decode,
// gdn_verify, gdn_decode_classic and gdn_step.
//
// S and the open keys are asked of the copy engine as soon as the slot is known. Meanwhile thread e makes element e of k, q and v,
// and 8 threads a key the products of keys. Then thread e has row e of S to itself: the products with k and q, and u and o of the
// new rows, one after the other; and it closes its row where the chunk is full. A block's memory is small enough for three of them
// on a multiprocessor, so one computes while two wait for memory.
//
// The order of every sum depends on K and V alone. The classic form is a chunk of one row, closed at once, with no rows to keep.
#pragma once

#include "core/cuda/launch.h"
#include "ops/gdn_chunk/tma_state.cuh"

namespace sluice::gdn::tma {

using gpu::launch_grid;
using gpu::Pool;
using gpu::Sequences;

// Blocks of a multiprocessor at once, for the memory that S takes; 5 leave a thread 96 registers, and the compiler needs more
// on 10.x.
#if __CUDA_ARCH__ >= 1000
inline constexpr int kMostBlocks = 4;
#else
inline constexpr int kMostBlocks = 5;
#endif
template <class S, int T>
inline constexpr int kBlocks = sizeof(S) == 4 || T > 1 ? 3 : kMostBlocks;

// The piece of work of a block: rows [t, t + count) of the call, which become rows n, n + 1, ... of the open chunk.
struct Piece {
  int b, head, key_head, slot, start, t, n, count;
  bool fresh;      // S is zero, whatever the slot holds
  bool close;      // the chunk is full after it
  bool keeps_key;  // of the value heads that share a key, the one that writes it
  bool keys_come;  // the open keys are on their way
};

// A block's shared memory, for T rows at a time.
struct Shared {
  char* state;
  float* keys;                 // [R][K]: those of the open rows, and the new rows' behind them
  float* queries;              // [T][K]
  float *k_k, *q_k;            // [T][pitch]: e^{G_t - G_j} k_t.k_j and q_t.k_j; zeros behind the rows that a row sees
  float *g, *closing;          // [R]: G; e^{G_last - G_j}
  float *decay, *beta;         // [T]: e^{G_t}; beta
  float* sums;                 // [2 T][kWarps]
  uint64_t *rows, *open_keys;  // arrivals: of each warp's rows of S; of the open keys
  int pitch;

  // The arrays one behind the other, 16-byte aligned; returns the bytes of all.
  __host__ __device__ int lay_out(char* memory, int state_bytes, int R, int T) {
    int at = state_bytes;
    const auto take = [&](int n) {
      float* p = reinterpret_cast<float*>(memory + at);
      at += (n + 3) / 4 * 16;
      return p;
    };
    pitch = R < OpenRows::kCount ? OpenRows::kCount : R;
    state = memory, keys = take(R * kDim), queries = take(T * kDim);
    k_k = take(T * pitch), q_k = take(T * pitch), g = take(R), closing = take(R), decay = take(T), beta = take(T),
    sums = take(2 * T * kWarps);
    rows = reinterpret_cast<uint64_t*>(take(2 * (kWarps + 1))), open_keys = rows + kWarps;
    return at;
  }
};

// Rows [T, H, D] of one type.
template <class X>
struct InputRows {
  X* data = nullptr;
  int row_stride = 0, head_stride = 0;  // elements

  InputRows() = default;
  explicit InputRows(const Tensor& t)
      : data(t.as<X>()), row_stride(int(t.stride[0])), head_stride(t.rank == 3 ? int(t.stride[1]) : 0) {}
  __device__ X* at(int64_t row, int head = 0) const { return data + row * row_stride + head * head_stride + threadIdx.x; }
};

// An element as it lies in memory: one that is widened at once would be waited for before the next is asked for.
__device__ inline uint32_t ask(const float* p) { return __float_as_uint(*p); }
__device__ inline uint32_t ask(const Bf16* p) { return *reinterpret_cast<const uint16_t*>(p); }
template <class X>
__device__ float take(uint32_t raw) {
  return __uint_as_float(sizeof(X) == 2 ? raw << 16 : raw);
}

// This thread's element of a row of either type.
__device__ inline void store(const RowView& y, int64_t row, int head, float x) {
  const int64_t i = row * y.row_stride + head * y.head_stride + threadIdx.x;
  if (y.bf16) static_cast<Bf16*>(y.data)[i] = cuda::from_float<Bf16>(x);
  else static_cast<float*>(y.data)[i] = x;
}

// Sums of N values over `Lanes` neighbouring threads. Each thread gets max(1, N / Lanes) of them, in front, and the index of its
// first. A value's tree of additions is the same for every N.
template <int Lanes, int N>
__device__ int spread_sums(float (&x)[N]) {
  int first = 0, n = N;
#pragma unroll
  for (int d = Lanes / 2; d > 0; d /= 2) {
    const bool upper = threadIdx.x & d;
    if (n == 1) {
      x[0] += __shfl_xor_sync(0xffffffffu, x[0], d);
      continue;
    }
    n /= 2;
    first += upper ? n : 0;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const float given = upper ? x[i] : x[i + n];
      x[i] = (upper ? x[i + n] : x[i]) + __shfl_xor_sync(0xffffffffu, given, d);
    }
  }
  return first;
}

// What a thread has of the new rows: element e of k, q and v.
template <int T>
struct NewRows {
  float k[T], q[T], v[T];
};

// Where the rows of this head are in the pool: ahead of the wait in slot 0. `u` at element e.
struct PoolRows {
  float *k = nullptr, *u = nullptr, *g = nullptr;

  __device__ PoolRows(const Pool& pool, const Piece& p) {
    if (!pool.k) return;
    k = pool.k + p.key_head * pool.R * kDim, u = pool.u + p.head * pool.R * kDim + threadIdx.x, g = pool.g + p.head * pool.R;
    ptx::pin(k), ptx::pin(u), ptx::pin(g);
  }
  __device__ void move_to(const Pool& pool, int slot) {
    if (k) k += slot * pool.k_pitch, u += slot * pool.u_pitch, g += slot * pool.g_pitch;
  }
  // Brings the first n rows near, into the second-level cache.
  __device__ void prefetch(int n) const {
    if (!k || n == 0 || threadIdx.x != 0) return;
    ptx::bulk_prefetch(k, n * kDim * sizeof(float)), ptx::bulk_prefetch(u, n * kDim * sizeof(float)), ptx::prefetch_l2(g);
  }
};

// Begins to bring the keys of `n` open rows.
__device__ inline void fetch_keys(const Shared& w, const PoolRows& pool, int n) {
  if (threadIdx.x != 0) return;
  const uint32_t bytes = uint32_t(n * kDim * sizeof(float));
  ptx::mbarrier_arrive_expect(w.open_keys, bytes);
  ptx::bulk_load(w.keys, pool.k, bytes, w.open_keys);
}

// 1 / |x| of a row's k and q, from sums over the block.
template <int T>
__device__ void normalise(NewRows<T>& rows, const Shared& w, float eps) {
  float square[2 * T];
#pragma unroll
  for (int t = 0; t < T; ++t) square[t] = __fmul_rn(rows.k[t], rows.k[t]), square[T + t] = __fmul_rn(rows.q[t], rows.q[t]);
  const int i = spread_sums<kWarp>(square);
  w.sums[i * kWarps + threadIdx.x / kWarp] = square[0];
  __syncthreads();
  const auto scale = [&](int vector) {
    float part[kWarps];
    gpu::load4(w.sums + vector * kWarps, part);
    return rsqrtf((part[0] + part[1]) + (part[2] + part[3]) + eps);
  };
#pragma unroll
  for (int t = 0; t < T; ++t) rows.k[t] *= scale(t), rows.q[t] *= scale(T + t);
}

// k and q of the new rows where all threads and later calls find them.
template <int T>
__device__ void publish(const NewRows<T>& rows, const Piece& p, const Shared& w, const PoolRows& pool) {
  const int e = threadIdx.x;
#pragma unroll
  for (int t = 0; t < T; ++t) {
    w.queries[t * kDim + e] = rows.q[t];
    if (t >= p.count) continue;
    w.keys[(p.n + t) * kDim + e] = rows.k[t];
    if (p.keeps_key) pool.k[(p.n + t) * kDim + e] = rows.k[t];
  }
}

// G, its exponential and beta of the new rows likewise, by one warp whose thread t has the gates of row t; G is a running sum in
// order of the rows. `last` is that of the last open row.
template <int T>
__device__ void publish_gates(const Piece& p, const Shared& w, float* kept, float log_g, float beta, float last) {
#pragma unroll
  for (int t = 0; t < T; ++t) {
    last = __fadd_rn(last, __shfl_sync(0xffffffffu, log_g, t));  // never one with the product that made log_g
    if (int(threadIdx.x) != t || t >= p.count) continue;
    w.g[p.n + t] = last, w.decay[t] = expf(last), w.beta[t] = beta;
    if (kept) kept[p.n + t] = last;
  }
}

// Products of the new rows with all keys up to their own, 8 threads a key; the weights of a closing. `Ahead`: quarters of a key
// whose loads are in flight.
template <int T, int Ahead>
__device__ void multiply_keys(const Piece& p, const Shared& w) {
  constexpr int kLanes = kThreads / OpenRows::kCount, kKept = 2 * T > kLanes ? 2 * T / kLanes : 1;
  const int column = 4 * (threadIdx.x % kLanes), rows = p.n + p.count;
#pragma unroll 1
  for (int first = 0; first < rows; first += OpenRows::kCount) {
    const int j = first + int(threadIdx.x) / kLanes;
    const float* key = w.keys + min(j, rows - 1) * kDim;
    float sum[2 * T] = {};
#pragma unroll Ahead
    for (int at = column; at < column + kDim; at += 4 * kLanes) {
      float key4[4], x[4];
      gpu::load4(key + at, key4);
#pragma unroll
      for (int t = 0; t < 2 * T; ++t) {
        gpu::load4(t < T ? w.keys + (p.n + t) * kDim + at : w.queries + (t - T) * kDim + at, x);
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[t] = fmaf(x[i], key4[i], sum[t]);
      }
    }
    const int mine = spread_sums<kLanes>(sum);
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      const bool query = mine + i >= T;
      const int t = mine + i - (query ? T : 0);
      const bool sees = j < p.n + t + query;  // a query its own key too
      (query ? w.q_k : w.k_k)[t * w.pitch + j] = sees ? expf(w.g[p.n + t] - w.g[j]) * sum[i] : 0;
    }
  }
  if (p.close && int(threadIdx.x) < rows) w.closing[threadIdx.x] = expf(w.g[rows - 1] - w.g[threadIdx.x]);
}

// Element e of u and o of the new rows, one after the other; sums over rows j ascending.
template <int T>
__device__ void solve(NewRows<T>& rows, const Piece& p, const Shared& w, const float* open_u, OpenRows& open, float scale,
                      const float (&s_k)[T], const float (&s_q)[T], float (&u)[T], float (&o)[T]) {
  float known[T] = {}, seen[T] = {};
#pragma unroll 1
  for (int first = 0; first < p.n; first += OpenRows::kCount) {
    if (first > 0) open.fetch(open_u, first, p.n);
#pragma unroll
    for (int i = 0; i < OpenRows::kCount; i += 4)
#pragma unroll
      for (int t = 0; t < T; ++t) {
        float k4[4], q4[4];
        gpu::load4(w.k_k + t * w.pitch + first + i, k4), gpu::load4(w.q_k + t * w.pitch + first + i, q4);
#pragma unroll
        for (int j = 0; j < 4; ++j) known[t] = fmaf(k4[j], open.x[i + j], known[t]), seen[t] = fmaf(q4[j], open.x[i + j], seen[t]);
      }
  }
#pragma unroll
  for (int t = 0; t < T; ++t) {
    const float *k_k = w.k_k + t * w.pitch + p.n, *q_k = w.q_k + t * w.pitch + p.n;
#pragma unroll
    for (int i = 0; i < t; ++i) known[t] = fmaf(k_k[i], u[i], known[t]), seen[t] = fmaf(q_k[i], u[i], seen[t]);
    u[t] = w.beta[t] * (rows.v[t] - fmaf(w.decay[t], s_k[t], known[t]));
    o[t] = scale * fmaf(w.decay[t], s_q[t], fmaf(q_k[t], u[t], seen[t]));
  }
}

// Appends the piece's rows; those before it are in shared memory but for their u, and at first their G: `open_g` is that of the row
// that is the thread's number, `last_g` of the last.
template <int T, class S, class Op>
__device__ void append(const Op& op, const Piece& p, const Shared& w, const PoolRows& pool, StateRow<S>& state, OpenRows& open,
                       typename Op::template Input<T>& in, float open_g, float last_g) {
  NewRows<T> rows;
  float log_g = 0, beta = 0;
  if (threadIdx.x < kWarp) in.gates(op, log_g, beta);
  in.take(op, p, rows);
  if (op.qk_l2norm) normalise(rows, w, op.l2_eps);
  publish(rows, p, w, pool);
  if (threadIdx.x < kWarp) publish_gates<T>(p, w, pool.g, log_g, beta, last_g);
  if (p.keys_come) {
    if (int(threadIdx.x) < p.n) w.g[threadIdx.x] = open_g;
    ptx::mbarrier_wait(w.open_keys, 0);
  }
  __syncthreads();
  multiply_keys<T, kBlocks<S, T> == 5 ? 2 : 4>(p, w);
  __syncthreads();

  float s_k[T], s_q[T], u[T], o[T];
  state.wait();
  state.template multiply<T>(w.keys + p.n * kDim, w.queries, s_k, s_q);
  solve(rows, p, w, pool.u, open, op.scale, s_k, s_q, u, o);
#pragma unroll
  for (int t = 0; t < T; ++t)
    if (pool.u && t < p.count) pool.u[(p.n + t) * kDim] = u[t];
  in.finish(op, p, w.sums, o);
  if constexpr (T == 1) {
    if (!p.close) return;
    if (!pool.u) return state.close(w.decay[0], u[0], w.keys);
#pragma unroll
    for (int i = 0; i < OpenRows::kCount; ++i) open.x[i] = i == p.n ? u[0] : open.x[i];
    state.close(w.decay[0], p.n + 1, w.closing, w.keys, pool.u, open);
  }
}

// The head and sequence of a block of launch_grid().
__device__ inline Piece find_head(const Pool& pool) {
  Piece p{.b = int(blockIdx.z), .head = int(blockIdx.y * gridDim.x + blockIdx.x), .key_head = int(blockIdx.y)};
  p.keeps_key = pool.k && blockIdx.x == 0;
  return p;
}

// Its rows, but for their count: p.t is the first, `end` the one behind the last.
__device__ inline void find_rows(Piece& p, const Pool& pool, const Sequences& q, int& end) {
  p.slot = q.slots[p.b], p.start = q.start ? q.start[p.b] : 0;
  const int has_state = q.has_state ? q.has_state[p.b] : p.start;
  p.t = q.cu_seqlens ? q.cu_seqlens[p.b] : p.b, end = q.cu_seqlens ? q.cu_seqlens[p.b + 1] : p.b + 1;
  p.fresh = q.start && has_state == 0;
  p.n = p.start & (pool.R - 1);  // R is a power of two
  p.keys_come = p.n > 0;
}

// While the kernel before this one ends: what the block will read comes nearer. Should that kernel change the slot or the position,
// no more than this is in vain, so they are read past the first-level cache, which would remember them.
template <class S, class Input, class Op>
__device__ void approach(const Op& op, Piece p, PoolRows rows, const Input& in) {
  p.slot = __ldcg(op.sequences.slots + p.b), p.start = op.sequences.start ? __ldcg(op.sequences.start + p.b) : 0;
  if (p.slot < 0 || p.slot >= op.pool.S) return;
  StateRow<S>::prefetch(op.pool, p.slot, p.head);
  rows.move_to(op.pool, p.slot);
  rows.prefetch(p.start & (op.pool.R - 1));
  in.prefetch(op, p);
}

// Lays out a block's memory and makes its barriers; returns the state in it, of which nothing has been asked yet.
template <class S, int T>
__device__ StateRow<S> begin_block(Shared& w, char* memory, int R, const CUtensorMap& map) {
  w.lay_out(memory, StateRow<S>::kBytes, R, T);
  const StateRow<S> state(w.state, w.rows, &map);
  if (threadIdx.x == 0) {
    ptx::mbarrier_init(w.open_keys, 1);
    ptx::fence_barrier_init();
    ptx::prefetch_tensor_map(&map);
  }
  __syncthreads();
  return state;
}

// A block has one value head of one sequence; its rows are taken T at a time.
template <class S, int T, class Op>
__global__ void __launch_bounds__(kThreads, kBlocks<S, T>)
    append_kernel(const __grid_constant__ Op op, const __grid_constant__ CUtensorMap map, int early) {
  extern __shared__ __align__(1024) char memory[];
  const Pool& pool = op.pool;
  Shared w;
  StateRow<S> state = begin_block<S, T>(w, memory, pool.R, map);
  Piece p = find_head(pool);
  PoolRows rows(pool, p);
  typename Op::template Input<T> in;
  in.prepare(op, p);
  if (p.b * pool.HV + p.head < early) approach<S>(op, p, rows, in);
  cuda::wait_for_previous_kernel();

  int end;
  find_rows(p, pool, op.sequences, end);
  p.count = min(T, end - p.t);
  in.ask(op, p);
  if (p.slot < 0 || p.slot >= pool.S) return op.clear(p, end);
  if (p.t == end && !p.fresh) return;
  in.ask_slot(op, p);
  rows.move_to(pool, p.slot);
  if (p.keys_come) fetch_keys(w, rows, p.n);
  OpenRows open;
  open.fetch(rows.u, 0, p.n);
  float last_g = p.n > 0 ? rows.g[p.n - 1] : 0;
  const float open_g = int(threadIdx.x) < p.n ? rows.g[threadIdx.x] : 0;
  if (p.fresh) state.clear();  // S last: all that is little would queue behind it
  else state.fetch(p.slot, p.head, T == 1 && op.closes && p.n + 1 == pool.R);

  bool changed = p.fresh;
  end = min(end, p.t + pool.R - p.n);  // what the chunk has no room for, which the host cannot see, must not reach another slot
  for (p.count = min(T, end - p.t); p.count > 0; p.count = min(T, end - p.t)) {
    p.close = op.closes && p.n + p.count == pool.R;
    changed = changed || p.close;
    append<T>(op, p, w, rows, state, open, in, open_g, last_g);
    p.t += p.count, p.n += p.count, p.keys_come = false;
    if (T == 1 || p.t >= end) break;
    __syncthreads();  // the next rows read what these wrote
    in.ask(op, p), open.fetch(rows.u, 0, p.n), last_g = w.g[p.n - 1];
  }
  if (changed) {
    __syncwarp();
    state.send(p.slot, p.head);
  }
}

template <class S, int T, class Op>
Status launch_append(const Context& ctx, const Op& op, DType type, int64_t B) {
  if (B == 0 || op.pool.S == 0) return {};
  CUtensorMap map;
  SLUICE_RETURN_IF_ERROR(encode_state(&map, op.pool, type));
  const int shared = Shared().lay_out(nullptr, StateRow<S>::kBytes, op.pool.R, T);
  const int early = ctx.dependent_launch ? 3 * ctx.gpu->sms : 0;  // blocks that may be placed while the kernel before this one ends
  return cuda::launch(ctx, append_kernel<S, T, Op>,
                      {.grid = launch_grid(op.pool, B), .block = kThreads, .shared = size_t(shared), .dependent = true}, op, map,
                      early);
}

// T: rows that a block takes in one reading of S.
template <int T, class Op>
Status launch_append(const Context& ctx, const Op& op, DType state, int64_t B) {
  return state == DType::kBF16 ? launch_append<Bf16, T>(ctx, op, state, B) : launch_append<float, T>(ctx, op, state, B);
}

}  // namespace sluice::gdn::tma
