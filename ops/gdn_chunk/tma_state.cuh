// A head's state S [V][K] in shared memory, K = V = 128, for the sm90 and sm100 forms: a thread a row of S, a warp 32 of them. So
// no sum crosses threads, and a warp waits for nobody else's rows.
//
// The copy engine brings a warp's rows as boxes of 32 rows by 128 bytes, one behind the other and swizzled: the 16-byte chunk c of
// row r lies at c ^ (r % 8), so that 8 threads reading chunk c of their rows meet all banks once. k and q are read at one address
// by a whole warp.
#pragma once

#include "core/cuda/ptx.h"
#include "core/cuda/tma.h"
#include "ops/gdn_chunk/pool.cuh"

namespace sluice::gdn::tma {

namespace ptx = cuda::ptx;
using cuda::kWarp;

inline constexpr int kDim = 128;       // K and V
inline constexpr int kThreads = kDim;  // of a block
inline constexpr int kWarps = kThreads / kWarp;
inline constexpr int kBoxRow = 128;  // bytes

// Element e of u of 16 open rows, zeros behind the last.
struct OpenRows {
  static constexpr int kCount = 16;
  float x[kCount];

  __device__ void fetch(const float* u, int first, int rows) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = first + i < rows ? u[(first + i) * kDim] : 0.0f;
  }
};

template <class S>
class StateRow {
 public:
  static constexpr int kBytes = kDim * kDim * int(sizeof(S));  // of all rows

  // `shared`: kBytes at a multiple of 1024; `arrivals`: one of each warp.
  __device__ StateRow(char* shared, uint64_t* arrivals, const CUtensorMap* map)
      : map_(map), rows_(shared + warp() * (kBytes / kWarps)), arrival_(arrivals + warp()) {
    if (lane() == 0) {
      ptx::mbarrier_init(arrival_, 1);
      ptx::fence_barrier_init();
    }
  }

  // Brings the rows of a head near, into the second-level cache.
  static __device__ void prefetch(const gpu::Pool& pool, int slot, int head) {
    if (lane() != 0 || slot < 0 || slot >= pool.S) return;
    const int64_t row = head * kDim + warp() * kWarp;
    ptx::bulk_prefetch(static_cast<const S*>(pool.s) + slot * pool.s_pitch + row * kDim, kBytes / kWarps);
  }
  // Begins to bring them here; `written`: they are sent back afterwards, and the cache had better keep them until then. wait()
  // ahead of the first use.
  __device__ void fetch(int slot, int head, bool written) {
    coming_ = true;
    if (lane() != 0) return;
    ptx::mbarrier_arrive_expect(arrival_, kBytes / kWarps);
    ptx::tma_load_4d(rows_, map_, 0, head * kDim + warp() * kWarp, 0, slot, arrival_,
                     written ? ptx::keep_longest() : ptx::give_up_first());
  }
  __device__ void clear() {
    for (int c = 0; c < kBoxes * kChunks; ++c) *chunk(c / kChunks, c % kChunks) = {};
  }
  __device__ void wait() {
    __syncwarp();  // the barrier is there, and zeros
    if (coming_) ptx::mbarrier_wait(arrival_, 0);
    coming_ = false;
  }

  // Products of the row with the T vectors at k and at q. Every sum is four, of the columns that are alike modulo 4.
  template <int T>
  __device__ void multiply(const float* k, const float* q, float (&s_k)[T], float (&s_q)[T]) const {
    float k_sum[T][4] = {}, q_sum[T][4] = {};
#pragma unroll 1
    for (int box = 0; box < kBoxes; ++box)
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        float x[kChunk];
        load(box, c, x);
#pragma unroll
        for (int i = 0; i < kChunk; i += 4)
#pragma unroll
          for (int t = 0; t < T; ++t) {
            float k4[4], q4[4];
            const int at = t * kDim + box * kColumns + c * kChunk + i;
            gpu::load4(k + at, k4), gpu::load4(q + at, q4);
#pragma unroll
            for (int j = 0; j < 4; ++j)
              k_sum[t][j] = fmaf(x[i + j], k4[j], k_sum[t][j]), q_sum[t][j] = fmaf(x[i + j], q4[j], q_sum[t][j]);
          }
      }
#pragma unroll
    for (int t = 0; t < T; ++t) {
      s_k[t] = (k_sum[t][0] + k_sum[t][1]) + (k_sum[t][2] + k_sum[t][3]);
      s_q[t] = (q_sum[t][0] + q_sum[t][1]) + (q_sum[t][2] + q_sum[t][3]);
    }
  }

  // The closing: row <- decay row + sum_j weights[j] u_j keys[j], j ascending, rounded once. `u` is of this row, its first 16 rows
  // are in `open`.
  __device__ void close(float decay, int count, const float* weights, const float* keys, const float* u, OpenRows& open) {
#pragma unroll 1
    for (int part = 0; part < kDim / kPart; ++part) {
      float x[kPart];
      load_part(part, decay, x);
#pragma unroll 1
      for (int first = 0; first < count; first += OpenRows::kCount) {
        if (count > OpenRows::kCount) open.fetch(u, first, count);
#pragma unroll
        for (int i = 0; i < OpenRows::kCount; ++i) {
          if (first + i >= count) break;
          add(x, weights[first + i] * open.x[i], keys + (first + i) * kDim + part * kPart);
        }
      }
      store_part(part, x);
    }
  }
  // The same of one row.
  __device__ void close(float decay, float u, const float* key) {
#pragma unroll 1
    for (int part = 0; part < kDim / kPart; ++part) {
      float x[kPart];
      load_part(part, decay, x);
      add(x, u, key + part * kPart);
      store_part(part, x);
    }
  }

  // Sends the rows to the pool. The block's memory must last until they are sent: the warp waits.
  __device__ void send(int slot, int head) const {
    ptx::fence_proxy_async();
    __syncwarp();
    if (lane() != 0) return;
    ptx::tma_store_4d(map_, 0, head * kDim + warp() * kWarp, 0, slot, rows_);
    ptx::bulk_commit();
    ptx::bulk_wait_read<0>();
  }

 private:
  static constexpr int kColumns = kBoxRow / int(sizeof(S)), kBoxes = kDim / kColumns, kBoxBytes = kBoxRow * kWarp;
  static constexpr int kChunk = 16 / int(sizeof(S)), kChunks = kColumns / kChunk;  // elements; of a box's row
  // Columns that are closed at once, in registers: of bf16 fewer, so that five blocks fit on a multiprocessor.
  static constexpr int kPart = 8 * int(sizeof(S));

  static __device__ int warp() { return threadIdx.x / kWarp; }
  static __device__ int lane() { return threadIdx.x % kWarp; }

  __device__ uint4* chunk(int box, int c) const {
    return reinterpret_cast<uint4*>(rows_ + box * kBoxBytes + lane() * kBoxRow + (c ^ lane() % 8) * 16);
  }
  __device__ void load(int box, int c, float (&x)[kChunk]) const {
    const uint4 v = *chunk(box, c);
    const uint32_t word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < kChunk; ++i)
      if constexpr (sizeof(S) == 4) x[i] = __uint_as_float(word[i]);
      else x[i] = __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
  }
  __device__ void load_part(int part, float decay, float (&x)[kPart]) const {
#pragma unroll
    for (int c = 0; c < kPart / kChunk; ++c) {
      float chunk[kChunk];
      load(part * kPart / kColumns, part * kPart % kColumns / kChunk + c, chunk);
#pragma unroll
      for (int i = 0; i < kChunk; ++i) x[c * kChunk + i] = decay * chunk[i];
    }
  }
  __device__ void store_part(int part, const float (&x)[kPart]) const {
#pragma unroll
    for (int c = 0; c < kPart / kChunk; ++c) {
      const float* from = x + c * kChunk;
      uint4* to = chunk(part * kPart / kColumns, part * kPart % kColumns / kChunk + c);
      if constexpr (sizeof(S) == 4)
        *to = {__float_as_uint(from[0]), __float_as_uint(from[1]), __float_as_uint(from[2]), __float_as_uint(from[3])};
      else
        *to = {ptx::pack_bf16(from[0], from[1]), ptx::pack_bf16(from[2], from[3]), ptx::pack_bf16(from[4], from[5]),
               ptx::pack_bf16(from[6], from[7])};
    }
  }
  static __device__ void add(float (&x)[kPart], float u, const float* key) {
#pragma unroll
    for (int c = 0; c < kPart; c += 4) {
      float k4[4];
      gpu::load4(key + c, k4);
#pragma unroll
      for (int i = 0; i < 4; ++i) x[c + i] = fmaf(u, k4[i], x[c + i]);
    }
  }

  const CUtensorMap* map_;
  char* rows_;  // of the warp: its boxes, one behind the other
  uint64_t* arrival_;
  bool coming_ = false;
};

// The map of a pool's S, for StateRow.
inline Status encode_state(CUtensorMap* map, const gpu::Pool& pool, DType type) {
  const uint32_t size = uint32_t(dtype_size(type));
  return cuda::encode_bands(map, {.type = type == DType::kBF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
                                  .element_bytes = size,
                                  .data = pool.s,
                                  .count = pool.S,
                                  .rows = int64_t(pool.HV) * kDim,
                                  .columns = kDim,
                                  .pitch = pool.s_pitch,
                                  .band = kWarp});
}

}  // namespace sluice::gdn::tma
