// The second kernel: 64 columns of a value head of a sequence, piece by piece. Each of the four warps has 16 rows of S^T in
// registers and needs nothing of the others but their share of the copying.
#pragma once

#include "ops/gdn_prefill/cuda_mma.cuh"

namespace sluice::gdn::gpu::mma {

inline constexpr int kColumns = 64;       // of V, a block
inline constexpr int kTiles = kRows / 8;  // of 8 rows of a piece

template <int K>
struct StateStage {
  char k[kRows * K * 2], q[kRows * K * 2], v[kRows * kColumns * 2], solve[kRows * kRows * 2], attend[kRows * kRows * 2];
};

// Fragments of 16x8 products: this thread has rows lane / 4 and lane / 4 + 8, and two neighbouring columns.
using Fragment = float[4];

// One of Factors' arrays: this thread's part, for the columns of a transposed product.
struct RowFactors {
  float2 x[kTiles];

  __device__ explicit RowFactors(const float* from) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) x[n] = *reinterpret_cast<const float2*>(from + 8 * n + threadIdx.x % 4 * 2);
  }
  __device__ void scale(Fragment (&d)[kTiles]) const {
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) d[n][i] *= i % 2 ? x[n].y : x[n].x;
  }
};

template <int K>
struct StateWarp {
  Fragment s[K / 8];  // S^T: rows of V, columns of K

  static __device__ int row() { return threadIdx.x / kWarp * 16 + threadIdx.x % kWarp / 4; }
  static __device__ int column() { return threadIdx.x % 4 * 2; }

  // Two neighbouring fragments of a product as the next one's first operand, bf16.
  static __device__ void pack(const Fragment& left, const Fragment& right, uint32_t (&a)[4]) {
    a[0] = ptx::pack_bf16(left[0], left[1]), a[1] = ptx::pack_bf16(left[2], left[3]);
    a[2] = ptx::pack_bf16(right[0], right[1]), a[3] = ptx::pack_bf16(right[2], right[3]);
  }

  __device__ void clear() {
#pragma unroll
    for (int n = 0; n < K / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[n][i] = 0;
  }
  // `from` and `to` are at the block's first column, [V][K].
  template <class S>
  __device__ void load(const S* from) {
#pragma unroll
    for (int n = 0; n < K / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[n][i] = cuda::to_float(from[(row() + i / 2 * 8) * K + 8 * n + column() + i % 2]);
  }
  template <class S>
  __device__ void store(S* to) const {
#pragma unroll
    for (int n = 0; n < K / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) to[(row() + i / 2 * 8) * K + 8 * n + column() + i % 2] = cuda::from_float<S>(s[n][i]);
  }

  // Folds the n open rows of the pool into S. `u` is at the block's first column.
  __device__ void close(const float* k, const float* u, const float* g, int n, int V) {
    const float last = g[n - 1], decay = expf(last);
#pragma unroll
    for (int t = 0; t < K / 8; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[t][i] *= decay;
    for (int j = 0; j < n; ++j) {
      const float weight = expf(last - g[j]), left[2] = {weight * u[j * V + row()], weight * u[j * V + row() + 8]};
#pragma unroll
      for (int t = 0; t < K / 8; ++t)
#pragma unroll
        for (int i = 0; i < 4; ++i) s[t][i] = fmaf(k[j * K + 8 * t + column() + i % 2], left[i / 2], s[t][i]);
    }
  }

  // K S and Q S, transposed.
  __device__ void multiply(const StateStage<K>& m, Fragment (&k_s)[kTiles], Fragment (&q_s)[kTiles]) const {
    const TileAddress<2 * K> k(m.k), q(m.q);
#pragma unroll
    for (int step = 0; step < K / 16; ++step) {
      uint32_t a[4], b[4];
      pack(s[2 * step], s[2 * step + 1], a);
#pragma unroll
      for (int n = 0; n < kTiles; n += 2) {
        k.load(b, 8 * n, 2 * step);
        ptx::mma_m16n8k16_bf16(k_s[n], a, b[0], b[1]), ptx::mma_m16n8k16_bf16(k_s[n + 1], a, b[2], b[3]);
        q.load(b, 8 * n, 2 * step);
        ptx::mma_m16n8k16_bf16(q_s[n], a, b[0], b[1]), ptx::mma_m16n8k16_bf16(q_s[n + 1], a, b[2], b[3]);
      }
    }
  }

  // W = V - e^G K S, transposed, as first operand.
  __device__ static void subtract_known(const StateStage<K>& m, const RowFactors& known, const Fragment (&k_s)[kTiles],
                                        uint32_t (&w)[kRows / 16][4]) {
    const TileAddress<2 * kColumns> v(m.v);
#pragma unroll
    for (int step = 0; step < kRows / 16; ++step) {
      uint32_t x[4];
      v.load_left_transposed(x, 16 * step, threadIdx.x / kWarp * 2);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 factor = known.x[2 * step + i / 2];
        const Fragment& y = k_s[2 * step + i / 2];
        w[step][i] = ptx::pack_fp16(__uint_as_float(x[i] << 16) - factor.x * y[i % 2 * 2],
                                    __uint_as_float(x[i] & 0xffff0000u) - factor.y * y[i % 2 * 2 + 1]);
      }
    }
  }

  // d += a b^T of fp16 for a lower triangular [64][64] b, of which only the 16x16 blocks up to the diagonal are read.
  __device__ static void multiply_triangle(const uint32_t (&a)[kRows / 16][4], const char* tile, Fragment (&d)[kTiles]) {
    const TileAddress<2 * kRows> b(tile);
#pragma unroll
    for (int step = 0; step < kRows / 16; ++step)
#pragma unroll
      for (int n = 2 * step; n < kTiles; n += 2) {
        uint32_t x[4];
        b.load(x, 8 * n, 2 * step);
        ptx::mma_m16n8k16_fp16(d[n], a[step], x[0], x[1]), ptx::mma_m16n8k16_fp16(d[n + 1], a[step], x[2], x[3]);
      }
  }

  // u and o of a piece. Factors are fetched one product before they are wanted.
  __device__ void multiply_piece(const StateStage<K>& m, const Factors& f, const RowFactors& known, Fragment (&u)[kTiles],
                                 Fragment (&o)[kTiles]) const {
    Fragment k_s[kTiles] = {};
    multiply(m, k_s, o);
    const RowFactors seen(f.seen);
    uint32_t w[kRows / 16][4];
    subtract_known(m, known, k_s, w);
    multiply_triangle(w, m.solve, u);
    seen.scale(o);
    multiply_triangle(w, m.attend, o);
  }

  // S <- decay S + K^T diag(closing) U. Overwrites u.
  __device__ void update(const StateStage<K>& m, const RowFactors& closing, float decay, Fragment (&u)[kTiles]) {
    closing.scale(u);
#pragma unroll
    for (int n = 0; n < K / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[n][i] *= decay;
    const TileAddress<2 * K> k(m.k);
#pragma unroll
    for (int step = 0; step < kRows / 16; ++step) {
      uint32_t a[4], b[4];
      pack(u[2 * step], u[2 * step + 1], a);
#pragma unroll
      for (int n = 0; n < K / 8; n += 2) {
        k.load_transposed(b, 16 * step, n);
        ptx::mma_m16n8k16_bf16(s[n], a, b[0], b[1]), ptx::mma_m16n8k16_bf16(s[n + 1], a, b[2], b[3]);
      }
    }
  }
};

// f(row of the piece, row of the block's V, element) for every element of a transposed product.
template <class F>
__device__ void each_element(const Fragment (&d)[kTiles], int count, F&& f) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int t = 8 * n + StateWarp<16>::column() + i % 2;
      if (t < count) f(t, StateWarp<16>::row() + i / 2 * 8, d[n][i]);
    }
}

// o of the warp's 16 columns as bf16 through their part of the tile that held v, and out 16 bytes at a time.
__device__ inline void store_rows(const Fragment (&o)[kTiles], char* tile, int count, Bf16* to, int64_t row_stride) {
  using Tile = TileAddress<2 * kColumns>;
  const int lane = threadIdx.x % kWarp, first_chunk = threadIdx.x / kWarp * 2;
  __syncwarp();  // the warp has read v
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    char* at = tile + Tile::offset(lane % 4 * 2 + i % 2, first_chunk + i / 2) + lane / 4 * 2;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) *reinterpret_cast<Bf16*>(at + n * 8 * 2 * kColumns) = cuda::from_float<Bf16>(o[n][i]);
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = i * 16 + lane / 2, chunk = first_chunk + lane % 2;
    if (row < count)
      *reinterpret_cast<uint4*>(to + row * row_stride + chunk * 8) =
          *reinterpret_cast<const uint4*>(tile + Tile::offset(row, chunk));
  }
}

template <int K>
__device__ void start_copy(const Call& c, const Piece& p, int head, int first_column, const Factors& f, StateStage<K>& m) {
  const int key_head = head / (c.pool.HV / c.pool.HK);
  copy_rows<2 * K>(m.k, row_of(c.k, p.t, key_head), 2 * c.k.row_stride, p.count);
  copy_rows<2 * K>(m.q, row_of(c.q, p.t, key_head), 2 * c.q.row_stride, p.count);
  copy_rows<2 * kColumns>(m.v, row_of(c.v, p.t, head) + first_column, 2 * c.v.row_stride, p.count);
  copy_rows<2 * kRows>(m.solve, f.solve, 2 * kRows, kRows);
  copy_rows<2 * kRows>(m.attend, f.attend, 2 * kRows, kRows);
}

// Stages of shared memory: two where they fit, so that the next piece comes in during this one.
template <class S, int K, int Stages>
__global__ void __launch_bounds__(kThreads, 2) state_kernel(const __grid_constant__ Call c, const Factors* factors) {
  extern __shared__ __align__(16) char memory[];
  cuda::wait_for_previous_kernel();
  StateStage<K>* stages = reinterpret_cast<StateStage<K>*>(memory);
  const Pool& pool = c.pool;
  const int slices = pool.V / kColumns, head = blockIdx.x / slices, first_column = blockIdx.x % slices * kColumns, b = blockIdx.y;
  const Extent x(c, b);
  const auto output = [&](int64_t t, int e, float value) {
    prefill::write_element(c.o, t * c.o.row_stride + head * c.o.head_stride + first_column + e, value);
  };
  if (x.padding) {
    for (int64_t i = x.begin * kColumns + threadIdx.x; i < x.end * kColumns; i += kThreads) output(i / kColumns, i % kColumns, 0);
    return;
  }
  if (x.begin == x.end && !x.fresh) return;
  const Cut cut(x, b, pool.R);
  const int64_t at = first_column * K, row = int64_t(head) * pool.K * pool.V + at;
  S* state = static_cast<S*>(pool.s) + x.slot * pool.s_pitch + row;
  float* open_u = pool.u + x.slot * pool.u_pitch + int64_t(head) * pool.R * pool.V + first_column;
  const auto factors_of = [&](int i) -> const Factors& { return factors[int64_t(cut.first + i) * pool.HV + head]; };
  const auto copy = [&](int i) {
    if (i < cut.pieces) start_copy(c, cut.piece(i), head, first_column, factors_of(i), stages[i % Stages]);
    __pipeline_commit();
  };

  copy(0);
  StateWarp<K> w;
  if (x.fresh) w.clear();
  else w.load(state);
  if (const int open = int(x.start % pool.R); open > 0 && !x.fresh && cut.pieces > 0)
    w.close(pool.k + x.slot * pool.k_pitch + int64_t(head / (pool.HV / pool.HK)) * pool.R * K, open_u,
            pool.g + x.slot * pool.g_pitch + head * pool.R, open, pool.V);

  // S goes back to the pool where its chunk begins, and where a copy is wanted.
  const bool moves = x.fresh || cut.last > x.start;
  const auto store_at = [&](int64_t position) {
    if (moves && position == cut.last) w.store(state);
    if (position > x.start)
      if (float* copy_of = checkpoint_at(c, b, head, x.start, position)) w.store(copy_of + at);
  };
  const bool rows16 =
      c.o.bf16 && reinterpret_cast<uintptr_t>(c.o.data) % 16 == 0 && c.o.row_stride % 8 == 0 && c.o.head_stride % 8 == 0;
  store_at(x.start);
  for (int i = 0; i < cut.pieces; ++i) {
    const Piece p = cut.piece(i);
    const Factors& f = factors_of(i);
    if (Stages > 1) copy(i + 1);
    const RowFactors known(f.known);
    __pipeline_wait_prior(Stages - 1);
    __syncthreads();
    StateStage<K>& m = stages[i % Stages];
    Fragment u[kTiles] = {}, o[kTiles] = {};
    w.multiply_piece(m, f, known, u, o);
    const RowFactors closing(f.closing);
    const float decay = f.decay;
    if (rows16)
      store_rows(o, m.v, p.count, static_cast<Bf16*>(c.o.data) + p.t * c.o.row_stride + head * c.o.head_stride + first_column,
                 c.o.row_stride);
    else each_element(o, p.count, [&](int t, int e, float value) { output(p.t + t, e, value); });
    const int64_t position = x.start + p.t - x.begin;
    if (position >= cut.last) {
      float* open = open_u + position % pool.R * pool.V;
      each_element(u, p.count, [&](int t, int e, float value) { open[t * pool.V + e] = value; });
    }
    w.update(m, closing, decay, u);
    __syncthreads();
    if (Stages == 1) copy(i + 1);
    store_at(position + p.count);
  }
}

}  // namespace sluice::gdn::gpu::mma
