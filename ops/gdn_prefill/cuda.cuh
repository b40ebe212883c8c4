// Rows of one sequence and value head appended to its open chunk by one block, which has VT columns of S in shared memory for as
// long as the sequence lasts. All fp32.
//
// Every number is the sum that gdn_decode's portable form makes of it, in the same order, whatever rows come with it: the bits do
// not depend on how a sequence is cut into calls, on the batch, or on which of the two operators a row went through.
#pragma once

#include "ops/gdn_chunk/pool.cuh"
#include "ops/gdn_prefill/forms.h"

namespace sluice::gdn::gpu::prefill {

using cuda::from_float;
using cuda::to_float;

inline constexpr int kTokens = 16;  // rows of a block: their k and q are the 32 rows of its matrix products
inline constexpr int kGroups = 2;   // of 128 columns, at most
inline constexpr int kPad = 4;      // floats between rows in shared memory: eight neighbouring rows, 16 bytes of each, are 32 banks

// The call.
struct Call {
  Pool pool;
  Sequences sequences;
  CallRows q, k, v, o;
  const float *log_g, *beta;
  int64_t log_g_stride, beta_stride;  // elements from row to row
  float scale, l2_eps;
  bool qk_l2norm;
  float* checkpoints;
  const int32_t* checkpoint_cu;
  int64_t checkpoint_every, checkpoint_pitch;  // tokens, 0: none; elements
};

__device__ inline float read_element(const CallRows& x, int64_t at) {
  return x.bf16 ? to_float(static_cast<const Bf16*>(x.data)[at]) : static_cast<const float*>(x.data)[at];
}
__device__ inline void write_element(const CallRows& y, int64_t at, float value) {
  if (y.bf16) static_cast<Bf16*>(y.data)[at] = from_float<Bf16>(value);
  else static_cast<float*>(y.data)[at] = value;
}

Call make_call(const GdnPrefillArgs& a);
// The last step of every form here: the new rows' keys and gates into the pool, after all that read the old ones.
Status keep_rows(Context& ctx, const Call& c, unsigned B);

// Where a sequence is and what it has.
struct Extent {
  int64_t slot, begin, end, start;
  bool padding, fresh;

  __device__ Extent(const Call& c, int b) {
    const Sequences& s = c.sequences;
    slot = s.slots[b], start = s.start[b], begin = s.cu_seqlens[b], end = s.cu_seqlens[b + 1];
    padding = slot < 0 || slot >= c.pool.S;
    fresh = s.has_state ? s.has_state[b] == 0 : start == 0;
  }
};

// The copy of S that is wanted after the token before `position`, or null.
__device__ inline float* checkpoint_at(const Call& c, int sequence, int head, int64_t start, int64_t position) {
  if (c.checkpoint_every == 0 || position % c.checkpoint_every != 0) return nullptr;
  const int64_t row = c.checkpoint_cu[sequence] + position / c.checkpoint_every - start / c.checkpoint_every - 1;
  return c.checkpoints + row * c.checkpoint_pitch + int64_t(head) * c.pool.V * c.pool.K;
}

// Shared memory. R rows of keys and u: those of the open chunk and, behind them, the block's.
template <int VT>
struct Memory {
  float* s;               // [K][VT + kPad]
  float *keys, *queries;  // [R][K + kPad], [kTokens][K + kPad]
  float* u;               // [R][VT]
  float *s_k, *s_q;       // [kTokens][VT]: S^T k, S^T q
  float *k_k, *q_k;       // [R][kTokens]: e^{G_t - G_j} k_t.k_j and q_t.k_j, for row j and token t
  float *g, *closing;     // [R]: G; e^{G_last - G_j}
  float *decay, *beta;    // [kTokens]: e^{G_t}; beta

  // One array behind the other; returns the end in bytes.
  __host__ __device__ size_t lay_out(float* memory, int K, int R) {
    size_t at = 0;
    const auto take = [&](int n) { return memory + std::exchange(at, at + n); };
    s = take(K * (VT + kPad));
    keys = take(R * (K + kPad)), queries = take(kTokens * (K + kPad));
    u = take(R * VT), s_k = take(kTokens * VT), s_q = take(kTokens * VT);
    k_k = take(R * kTokens), q_k = take(R * kTokens);
    g = take(R), closing = take(R), decay = take(kTokens), beta = take(kTokens);
    return at * sizeof(float);
  }
};

// Rows [t, t + count) of the call, which become rows n, n + 1, ... of the open chunk.
struct Block {
  int64_t t;
  int n, count;
};

// A warp's row of k or q: four columns a thread, and the four 128 further on.
struct WarpRow {
  float x[kGroups][4] = {};

  static __device__ int column(int g) { return 4 * (threadIdx.x % kWarp) + g * kGroup; }

  __device__ void load(const Call& c, const CallRows& rows, int64_t t, int head) {
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
      if (column(g) < c.pool.K) load4(rows, t * rows.row_stride + head * rows.head_stride + column(g), x[g]);
  }
  // Divides by the norm, if asked.
  __device__ void normalise(const Call& c) {
    if (!c.qk_l2norm) return;
    float sum = 0;
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
#pragma unroll
      for (int i = 0; i < 4; ++i) sum = fmaf(x[g][i], x[g][i], sum);
    const float scale = 1 / sqrtf(cuda::group_sum(sum) + c.l2_eps);
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[g][i] *= scale;
  }
  __device__ void store(float* to, int K) const {
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
      if (column(g) < K) store4(to + column(g), x[g]);
  }
};

// Sums over columns of K in the order of gdn_decode, where 2^Levels threads have some columns each: leaf(l) adds up thread l's, and
// these sums are added in pairs half of the threads apart, then a quarter, and so on. The first levels are loops, or the code would
// not fit the instruction cache.
template <int Levels, int M, int N, int Bit = 0, class Leaf>
__device__ void tree_sum(int l, const Leaf& leaf, float (&sum)[M][N]) {
  if constexpr (Bit == Levels) {
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < N; ++n) sum[m][n] = 0;
    leaf(l, sum);
  } else {
#pragma unroll(Bit < Levels - 2 ? 1 : 2)
    for (int half = 0; half < 2; ++half) {
      float part[M][N];
      tree_sum<Levels, M, N, Bit + 1>(l + (half << Bit), leaf, part);
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < N; ++n) sum[m][n] = half ? sum[m][n] + part[m][n] : part[m][n];
    }
  }
}

// Threads among which gdn_decode divides the columns: a warp for products of keys, eight for a row of S. Four columns each, and the
// next four where all have theirs.
inline constexpr int kDotLevels = 5, kStateLevels = 3, kStateColumns = 4 << kStateLevels;

// KD is K where it is known to the compiler, or 0: without branches, loads of the next columns go out during the sums of the last.
template <int VT, int KD>
struct Appender {
  static constexpr int kThreads = 2 * VT, kColumnThreads = VT / 4, kPitch = VT + kPad;

  const Call& c;
  const Memory<VT>& w;
  int head, key_head, first_column;

  __device__ int K() const { return KD ? KD : c.pool.K; }
  __device__ int key_pitch() const { return K() + kPad; }

  // Phase one: k, q and gates of the block.

  __device__ void load_rows(const Block& b) const {
    constexpr int kWarps = kThreads / kWarp, kAhead = 4;  // rows on their way at a time
    for (int first = threadIdx.x / kWarp; first < 2 * b.count; first += kAhead * kWarps) {
      WarpRow x[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i)
        if (const int row = first + i * kWarps; row < 2 * b.count) x[i].load(c, row % 2 ? c.q : c.k, b.t + row / 2, key_head);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int row = first + i * kWarps;
        if (row >= 2 * b.count) break;
        x[i].normalise(c);
        x[i].store(row % 2 ? w.queries + row / 2 * key_pitch() : w.keys + (b.n + row / 2) * key_pitch(), K());
      }
    }
    if (threadIdx.x < kWarp) load_gates(b);
  }

  // A running sum in order of the rows.
  __device__ void load_gates(const Block& b) const {
    const int lane = threadIdx.x;
    float log_g = 0, beta = 0;
    if (lane < b.count) log_g = c.log_g[(b.t + lane) * c.log_g_stride + head], beta = c.beta[(b.t + lane) * c.beta_stride + head];
    float sum = b.n > 0 ? w.g[b.n - 1] : 0;
    for (int t = 0; t < b.count; ++t) {
      sum += __shfl_sync(0xffffffffu, log_g, t);
      if (lane == t) w.g[b.n + t] = sum, w.decay[t] = expf(sum), w.beta[t] = beta;
    }
  }

  // Phase two: products with keys and with S.

  // A thread has one token's k and q, and four keys that lie four apart.
  __device__ void multiply_keys(const Block& b) const {
    const int keys = b.n + b.count, tasks = (keys + 15) / 16 * 4 * kTokens;
    for (int task = threadIdx.x; task < tasks; task += kThreads) {
      const int t = task / 4 % kTokens, first = task / (4 * kTokens) * 16 + task % 4;
      const float *k = w.keys + (b.n + t) * key_pitch(), *q = w.queries + t * key_pitch(), *key = w.keys + first * key_pitch();
      if (t >= b.count || first > b.n + t) continue;
      const auto dots_of = [&](int l, float(&sum)[2][4]) {
#pragma unroll(KD ? 2 : 1)
        for (int d = 4 * l; d < (KD ? l * 4 + KD : K()); d += kGroup) {
          float left[2][4], right[4];
          load4(k + d, left[0]), load4(q + d, left[1]);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            load4(key + 4 * j * key_pitch() + d, right);
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
              for (int m = 0; m < 2; ++m) sum[m][j] = fmaf(left[m][i], right[i], sum[m][j]);
          }
        }
      };
      float dots[2][4];
      tree_sum<kDotLevels>(0, dots_of, dots);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int j = first + 4 * i;
        if (j > b.n + t) break;
        const float decay = expf(w.g[b.n + t] - w.g[j]);
        w.k_k[j * kTokens + t] = decay * dots[0][i], w.q_k[j * kTokens + t] = decay * dots[1][i];
      }
    }
  }

  // A thread has k and q of two tokens, and four columns of S.
  __device__ void multiply_state(const Block& b) const {
    constexpr int kApart = kTokens / 2;
    const int column = threadIdx.x % kColumnThreads * 4, t = threadIdx.x / kColumnThreads;
    if (t >= b.count) return;
    const float *k = w.keys + (b.n + t) * key_pitch(), *q = w.queries + t * key_pitch(), *s = w.s + column;
    const auto products_of = [&](int l, float(&sum)[4][4]) {
#pragma unroll(KD ? 4 : 1)
      for (int n = 0; n < (KD ? KD / kStateColumns : (K() - 4 * l + kStateColumns - 1) / kStateColumns); ++n) {
        const int d = 4 * l + n * kStateColumns;
        float right[4][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) load4(s + (d + i) * kPitch, right[i]);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          float left[4];
          load4((m < 2 ? k : q) + m % 2 * kApart * key_pitch() + d, left);
#pragma unroll
          for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[m][e] = fmaf(left[i], right[i][e], sum[m][e]);
        }
      }
    };
    float x[4][4];
    tree_sum<kStateLevels>(0, products_of, x);
#pragma unroll
    for (int m = 0; m < 4; ++m) store4((m < 2 ? w.s_k : w.s_q) + (t + m % 2 * kApart) * VT + column, x[m]);
  }

  // Phase three: a thread has one column of V and all tokens of the block; half of the threads make u, the other half o.

  // sums[t] += weights[j][t] u_j for rows [0, n) of the chunk.
  __device__ void add_open_rows(const float* weights, int n, int e, float (&sums)[kTokens]) const {
#pragma unroll 4
    for (int j = 0; j < n; ++j) add_row<0>(weights + j * kTokens, w.u[j * VT + e], sums);
  }
  // The same of one row, for tokens First and later.
  template <int First>
  __device__ static void add_row(const float* weights, float u, float (&sums)[kTokens]) {
#pragma unroll
    for (int t = First / 4 * 4; t < kTokens; t += 4) {
      float x[4];
      load4(weights + t, x);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (t + i >= First) sums[t + i] = fmaf(x[i], u, sums[t + i]);
    }
  }

  __device__ int64_t value_at(const CallRows& x, int64_t t, int e) const {
    return t * x.row_stride + head * x.head_stride + first_column + e;
  }

  __device__ void solve(const Block& b, int e) const {
    float v[kTokens], known[kTokens] = {};
#pragma unroll
    for (int t = 0; t < kTokens; ++t) v[t] = t < b.count ? read_element(c.v, value_at(c.v, b.t + t, e)) : 0;
    add_open_rows(w.k_k, b.n, e, known);
    solve_from<0>(b, e, v, known);
  }
  template <int T>
  __device__ void solve_from(const Block& b, int e, const float (&v)[kTokens], float (&known)[kTokens]) const {
    if constexpr (T < kTokens) {
      if (T >= b.count) return;
      const float u = w.beta[T] * (v[T] - fmaf(w.decay[T], w.s_k[T * VT + e], known[T]));
      w.u[(b.n + T) * VT + e] = u;
      add_row<T + 1>(w.k_k + (b.n + T) * kTokens, u, known);
      solve_from<T + 1>(b, e, v, known);
    }
  }

  template <int T>
  __device__ void output_from(const Block& b, int e, float (&seen)[kTokens]) const {
    if constexpr (T < kTokens) {
      if (T >= b.count) return;
      add_row<T>(w.q_k + (b.n + T) * kTokens, w.u[(b.n + T) * VT + e], seen);
      write_element(c.o, value_at(c.o, b.t + T, e), c.scale * fmaf(w.decay[T], w.s_q[T * VT + e], seen[T]));
      output_from<T + 1>(b, e, seen);
    }
  }

  __device__ void append(const Block& b) const {
    load_rows(b);
    __syncthreads();
    multiply_keys(b);
    multiply_state(b);
    __syncthreads();
    const int e = threadIdx.x % VT;
    float seen[kTokens] = {};
    if (threadIdx.x < VT) solve(b, e);
    else add_open_rows(w.q_k, b.n, e, seen);
    __syncthreads();
    if (threadIdx.x >= VT) return output_from<0>(b, e, seen);
    const int rows = b.n + b.count;
    for (int j = threadIdx.x; rows == c.pool.R && j < rows; j += VT) w.closing[j] = expf(w.g[rows - 1] - w.g[j]);
  }

  // S <- e^{G_last} S + sum_j e^{G_last - G_j} k_j u_j^T, rounded to the pool's type S. A thread has 8 by 4 elements at a time.
  template <class S>
  __device__ void close(float decay) const {
    constexpr int kRows = 8;
    const int R = c.pool.R;
    for (int i = threadIdx.x; i < R * VT; i += kThreads) w.u[i] *= w.closing[i / VT];
    __syncthreads();
    for (int tile = threadIdx.x; tile < K() / kRows * kColumnThreads; tile += kThreads) {
      float* s = w.s + tile / kColumnThreads * kRows * kPitch + tile % kColumnThreads * 4;
      const float *u = w.u + tile % kColumnThreads * 4, *k = w.keys + tile / kColumnThreads * kRows;
      float x[kRows][4];
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        load4(s + r * kPitch, x[r]);
#pragma unroll
        for (int e = 0; e < 4; ++e) x[r][e] *= decay;
      }
#pragma unroll 2
      for (int j = 0; j < R; ++j) {
        float left[kRows / 4][4], right[4];
        load4(u + j * VT, right);
#pragma unroll
        for (int r = 0; r < kRows / 4; ++r) load4(k + j * key_pitch() + 4 * r, left[r]);
#pragma unroll
        for (int r = 0; r < kRows; ++r)
#pragma unroll
          for (int e = 0; e < 4; ++e) x[r][e] = fmaf(left[r / 4][r % 4], right[e], x[r][e]);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int e = 0; e < 4; ++e) x[r][e] = to_float(from_float<S>(x[r][e]));
        store4(s + r * kPitch, x[r]);
      }
    }
  }

  // S and open rows between the pool and shared memory.

  // The block's part of a head's [V][K].
  template <class S>
  __device__ void load_state(const S* from) const {
    for (int i = threadIdx.x; i < VT * K(); i += kThreads)
      w.s[i % K() * kPitch + i / K()] = from ? to_float(from[first_column * K() + i]) : 0;
  }
  template <class S>
  __device__ void store_state(S* to) const {
    for (int i = threadIdx.x; i < VT * K(); i += kThreads)
      to[first_column * K() + i] = from_float<S>(w.s[i % K() * kPitch + i / K()]);
  }
  __device__ void load_open_rows(int64_t slot, int n) const {
    const Pool& p = c.pool;
    const float *k = p.k + slot * p.k_pitch + int64_t(key_head) * p.R * p.K, *g = p.g + slot * p.g_pitch + head * p.R,
                *u = open_u(slot);
    for (int i = threadIdx.x; i < n * K(); i += kThreads) w.keys[i / K() * key_pitch() + i % K()] = k[i];
    for (int i = threadIdx.x; i < n * VT; i += kThreads) w.u[i] = u[i / VT * p.V + i % VT];
    for (int i = threadIdx.x; i < n; i += kThreads) w.g[i] = g[i];
  }
  __device__ void store_open_rows(int64_t slot, int begin, int end) const {
    float* u = open_u(slot);
    for (int i = begin * VT + threadIdx.x; i < end * VT; i += kThreads) u[i / VT * c.pool.V + i % VT] = w.u[i];
  }
  __device__ float* open_u(int64_t slot) const {
    return c.pool.u + slot * c.pool.u_pitch + int64_t(head) * c.pool.R * c.pool.V + first_column;
  }
};

}  // namespace sluice::gdn::gpu::prefill
