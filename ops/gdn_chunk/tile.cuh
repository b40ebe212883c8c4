// Rows of a state S [V][K] in a warp's registers, how they are fetched ahead, and what is computed from them, for GPU forms that
// read S once a step: they are bound by memory, and S is nearly all of what they move.
//
// All sums have one fixed order that depends on K and V alone: the same bits alone, in a batch, and for one token or several.
#pragma once

#include <cuda_pipeline_primitives.h>

#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"

namespace sluice::gdn::gpu {

using cuda::kWarp;

inline constexpr int kWarps = 8;  // of a block, which has one value head of one sequence
inline constexpr int kThreads = kWarps * kWarp;
inline constexpr int kGroup = 4 * kWarp;                   // columns that a warp reads of one row in one instruction, 4 a thread
inline constexpr int kMostColumns = 256, kMostRows = 256;  // K and V at most
inline constexpr int kTileRows = 8;
inline constexpr int kRowThreads = 8;              // of a warp share a row of a tile, so each has two rows, kHalf apart
inline constexpr int kHalf = kWarp / kRowThreads;  // rows
inline constexpr int kMostTiles = kMostRows / kTileRows / kWarps;  // of one warp
inline constexpr int kBufferBytes = 8192;  // of a warp for tiles: 64 KiB a block, three blocks a multiprocessor

// K and V where the kernel was compiled for K = V = D, else what the call says (D = 0): known sizes make the code a third as long,
// and what is fetched of it counts in kernels of a few microseconds.
template <int D>
__host__ __device__ constexpr int fixed(int n) {
  return D > 0 ? D : n;
}

// Four neighbouring elements.
__device__ inline void load4(const float* p, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
__device__ inline void load4(const Bf16* p, float (&x)[4]) {
  const uint2 v = *reinterpret_cast<const uint2*>(p);
  x[0] = __uint_as_float(v.x << 16), x[1] = __uint_as_float(v.x & 0xffff0000u);
  x[2] = __uint_as_float(v.y << 16), x[3] = __uint_as_float(v.y & 0xffff0000u);
}
__device__ inline float4 pack4(const float (&x)[4], const float*) { return {x[0], x[1], x[2], x[3]}; }
__device__ inline uint2 pack4(const float (&x)[4], const Bf16*) {
  return {cuda::ptx::pack_bf16(x[0], x[1]), cuda::ptx::pack_bf16(x[2], x[3])};
}
template <class T>
__device__ void store4(T* p, const float (&x)[4]) {
  using Vector = decltype(pack4(x, p));
  *reinterpret_cast<Vector*>(p) = pack4(x, p);
}

// Eight rows of S. A thread has 4 columns of every 32 in two rows; zeros behind K. N: 32nds of the widest K.
template <int N>
struct Tile {
  float x[2][N][4];

  static __device__ int row() { return threadIdx.x % kWarp / kRowThreads; }  // the first of the thread's two
  static __device__ int column(int n) { return 4 * (threadIdx.x % kRowThreads) + n * 4 * kRowThreads; }

  __device__ void clear() {
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[0][n][i] = x[1][n][i] = 0;
  }

  template <class S>
  __device__ void load(const S* from, int K) {
    clear();
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int n = 0; n < N; ++n)
        if (column(n) < K) load4(from + (row() + h * kHalf) * K + column(n), x[h][n]);
  }

  // Not read again in this step: marked to leave the caches first.
  template <class S>
  __device__ void store(S* to, int K) const {
    using Vector = decltype(pack4(x[0][0], to));
#pragma unroll
    for (int h = 0; h < 2; ++h)
#pragma unroll
      for (int n = 0; n < N; ++n)
        if (column(n) < K) __stcs(reinterpret_cast<Vector*>(to + (row() + h * kHalf) * K + column(n)), pack4(x[h][n], to));
  }

  // S k and S q of the tile's rows, to s_k and s_q; k and q have N * 32 elements. The sums of two rows and two products are added
  // over eight threads together, so that each step halves what a thread has.
  __device__ void multiply(const float* k, const float* q, float* s_k, float* s_q) const {
    float k_sum[2] = {}, q_sum[2] = {};
#pragma unroll
    for (int n = 0; n < N; ++n) {
      float k4[4], q4[4];
      load4(k + column(n), k4), load4(q + column(n), q4);
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int i = 0; i < 4; ++i) k_sum[h] = fmaf(x[h][n][i], k4[i], k_sum[h]), q_sum[h] = fmaf(x[h][n][i], q4[i], q_sum[h]);
    }
    const bool second = threadIdx.x & 4, upper = threadIdx.x & 2;
    float sum[2];
#pragma unroll
    for (int h = 0; h < 2; ++h)
      sum[h] = (second ? q_sum[h] : k_sum[h]) + __shfl_xor_sync(0xffffffffu, second ? k_sum[h] : q_sum[h], 4);
    float one = (upper ? sum[1] : sum[0]) + __shfl_xor_sync(0xffffffffu, upper ? sum[0] : sum[1], 2);
    one += __shfl_xor_sync(0xffffffffu, one, 1);
    if (threadIdx.x % 2 == 0) (second ? s_q : s_k)[row() + (upper ? kHalf : 0)] = one;
  }

  __device__ void scale(float factor) {
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) x[0][n][i] *= factor, x[1][n][i] *= factor;
  }

  // S += weight u k^T; `u` is of the tile's rows, `k` has `columns` elements.
  __device__ void add_product(float weight, const float* u, const float* k, int columns) {
    const float left[2] = {weight * u[row()], weight * u[row() + kHalf]};
#pragma unroll
    for (int n = 0; n < N; ++n) {
      if (column(n) >= columns) continue;
      float k4[4];
      load4(k + column(n), k4);
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int i = 0; i < 4; ++i) x[h][n][i] = fmaf(k4[i], left[h], x[h][n][i]);
    }
  }
};

// The closing of a tile over the rows that the pool has: S <- e^{G_last} S + sum_j weights[j] u_j k_j^T, j ascending. `u` is of the
// tile's first row. `Ahead`: rows whose loads are in flight, 5 N registers each.
template <int Ahead, int N>
__device__ void close_tile(Tile<N>& x, float decay, const float* weights, int rows, const float* k, int K, const float* u, int V) {
  x.scale(decay);
#pragma unroll Ahead
  for (int j = 0; j < rows; ++j) x.add_product(weights[j], u + j * V, k + j * K, K);
}

// One warp's rows of a head's S, a run of tiles, fetched into buffers of its own: no warp waits for another. Where there are
// buffers for all of them, they are fetched once and can be read twice.
//
// The copy engine fetches them where there is one: loads through the first-level cache would queue, and all that the block reads
// besides would wait behind them.
template <class S, int D>
class TileStream {
 public:
  // Buffers of one warp, so many tiles.
  static __host__ __device__ constexpr int buffers(int K, int V) {
    const int fit = kBufferBytes / int(kTileRows * K * sizeof(S)), tiles = per_warp(V);
    return fit < tiles ? fit : tiles;
  }
  static __host__ __device__ size_t shared_bytes(int K, int V) {
    return kWarps * (kMostTiles * sizeof(uint64_t) + size_t(buffers(K, V)) * kTileRows * K * sizeof(S));
  }

  __device__ TileStream(const S* s, char* shared, int K, int V) : K_(K), V_(V) {
    const int warp = threadIdx.x / kWarp;
    from_ = s + first_row() * this->K();
    arrivals_ = reinterpret_cast<uint64_t*>(shared) + warp * kMostTiles;
    memory_ = reinterpret_cast<S*>(shared + kWarps * kMostTiles * sizeof(uint64_t)) + warp * held() * size();
  }

  __device__ int count() const {
    const int tiles = V() / kTileRows, first = threadIdx.x / kWarp * per_warp(V());
    return tiles % kWarps == 0 ? tiles / kWarps : max(0, min(per_warp(V()), tiles - first));
  }
  __device__ int first_row() const { return threadIdx.x / kWarp * per_warp(V()) * kTileRows; }

  // Once, before all else.
  __device__ void init() {
#if __CUDA_ARCH__ >= 900
    if (const int lane = threadIdx.x % kWarp; lane < held()) {
      cuda::ptx::mbarrier_init(arrivals_ + lane, 1);
      cuda::ptx::fence_barrier_init();
    }
    __syncwarp();
#endif
  }

  // Begins to fetch. All tiles are read before the next start().
  __device__ void start() {
    kept_ = false;
#if __CUDA_ARCH__ >= 900
    if (const int lane = threadIdx.x % kWarp; lane < min(held(), count())) fetch_one(lane);
#else
    for (int i = 0; i < min(held(), count()); ++i) fetch(i);
#endif
  }

  // Tile i of the warp's; in ascending order, and with again() before a second round.
  template <int N>
  __device__ void read(int i, Tile<N>& x) {
    const int buffer = buffer_of(i);
    wait(buffer);
    x.load(memory_ + buffer * size(), K());
    __syncwarp();
    if (i + held() < count()) fetch(i + held());
  }

  __device__ void again() {
    if (count() > held()) start();
    else kept_ = true;
  }

 private:
  static __host__ __device__ constexpr int per_warp(int V) { return (V / kTileRows + kWarps - 1) / kWarps; }
  __device__ int K() const { return fixed<D>(K_); }
  __device__ int V() const { return fixed<D>(V_); }
  __device__ int held() const { return buffers(K(), V()); }
  __device__ int size() const { return kTileRows * K(); }  // of a tile, elements
  // Of tile i. A division by what is not known to the compiler would keep its constants in registers.
  __device__ int buffer_of(int i) const {
    if constexpr (D > 0) {
      return i % held();
    } else {
#pragma unroll 1
      while (i >= held()) i -= held();
      return i;
    }
  }

#if __CUDA_ARCH__ >= 900
  __device__ void fetch_one(int i) {
    const int buffer = buffer_of(i);
    uint64_t* bar = arrivals_ + buffer;
    cuda::ptx::mbarrier_arrive_expect(bar, uint32_t(size() * sizeof(S)));
    cuda::ptx::bulk_load(memory_ + buffer * size(), from_ + i * size(), uint32_t(size() * sizeof(S)), bar);
  }
  __device__ void fetch(int i) {
    if (threadIdx.x % kWarp == 0) fetch_one(i);
  }
  __device__ void wait(int buffer) {
    if (kept_) return;
    cuda::ptx::mbarrier_wait(arrivals_ + buffer, phases_ >> buffer & 1);
    phases_ ^= 1u << buffer;
  }
#else
  __device__ void fetch(int i) {
    constexpr int kPiece = 16 / sizeof(S);  // elements of a copy, 16 bytes
    for (int at = kPiece * (threadIdx.x % kWarp); at < size(); at += kPiece * kWarp)
      __pipeline_memcpy_async(memory_ + buffer_of(i) * size() + at, from_ + i * size() + at, 16);
    __pipeline_commit();
  }
  __device__ void wait(int) {
    __pipeline_wait_prior(0);
    __syncwarp();
  }
#endif

  const S* from_;
  S* memory_;
  uint64_t* arrivals_;
  int K_, V_;
  uint32_t phases_ = 0;  // one bit a buffer: the parity of its next arrival
  bool kept_ = false;    // all tiles are in their buffers
};

}  // namespace sluice::gdn::gpu
