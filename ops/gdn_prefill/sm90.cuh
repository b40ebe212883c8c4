// gdn_prefill on compute capability 9.0: sizes, work units and parameters of the kernels in sm90.cu.
//
// A chunk is 64 rows. With S the state at its start, G_i the sum of log_g over its rows 0..i, D_ij = e^{G_i-G_j}, gamma_i =
// e^{G_i}, L = strictLower(diag(beta) K K^T o D), T = (I + L)^-1 diag(beta) and P = scale lower(Q K^T o D):
//
//   W = V - diag(gamma) K S;  [U | O] = [T; P T] W + [0 | scale diag(gamma) Q S];  S <- e^{G_last} S + K^T diag(e^{G_last-G_i}) U
//
// T and P T need no state. Kernels, each waiting for the one before:
//   normalise   q and k where the call asks for it                                    sm90_plan.cuh
//   plan    lists chunks and sequences                                                sm90_plan.cuh
//   solve   T, P T and the gates of every chunk, chunks in parallel                   sm90_solve.cuh
//   map     where long sequences are cut into segments: N and M of S' = M S + N       sm90_map.cuh
//   join    each segment's first state from them                                      sm90_map.cuh
//   update  a block takes value heads of segments through their chunks: a load        sm90_update.cuh
//           warp and two groups with 64 rows of S^T each in registers, three products a chunk
#pragma once

#include <cuda_bf16.h>

#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"

namespace sluice::gdn_sm90 {

namespace ptx = cuda::ptx;

inline constexpr int kDim = 128;       // K = V
inline constexpr int kC = 64;          // rows of a chunk
inline constexpr int kGroup = 128;     // threads of a warpgroup
inline constexpr int kRowBytes = 128;  // a shared-memory row: 64 elements of 16 bits, swizzled over 8 rows
inline constexpr int kTile = kC * kRowBytes;
inline constexpr int kFragmentPitch = 48;  // bytes of an unswizzled row of 16 elements: eight rows fall on different banks
inline constexpr float kLog2E = 1.4426950408889634f;

// Per-row factors of a chunk; rows past its end have g = 0 and beta = 0.
struct Gates {
  float sum[kC];    // G_i log2(e)
  float decay[kC];  // e^{G_i}
  float out[kC];    // scale e^{G_i}
  float rest[kC];   // e^{G_last-G_i}, zero for rows that stay open
  float whole;      // e^{G_last}
  float pad[31];
};

// What a chunk's update needs besides K, Q and V, as it lies in shared memory.
struct Solved {
  uint8_t t[kTile], pt[kTile];  // fp16, swizzled
  Gates gates;
};

// K and Q of 64 features alternate, so that one product of 128 columns takes both.
struct KeysQueries {
  uint8_t k0[kTile], q0[kTile], k1[kTile], q1[kTile];
};

// A run of chunks of one sequence.
struct Segment {
  int32_t seq, chunk, chunks;  // `chunk`: its first, counted in the sequence
  int32_t state;               // where the sequence is cut: index of the segment's first state; otherwise -1, and it is the pool's
};

// One value head of one segment.
struct Unit {
  int32_t head;             // -1: there is no more work
  int32_t seq, slot;        // slot < 0: padding, its outputs are zero
  int32_t row, end;         // rows [row, end) of q, k, v
  int32_t first, chunks;    // rows of the first chunk; chunks
  int32_t chunk;            // index of the first chunk among all
  int32_t open;             // rows of the open chunk that are folded into the loaded state
  int32_t closed, open_at;  // rows of the last chunk that are folded into the stored state; the pool's row for the one after them
  int32_t fresh, keep;      // the state starts at zero; the state is stored
  int32_t state;            // the segment's
  int32_t position, whole;  // the first chunk's number in the sequence, chunks of earlier calls counted; chunks that end at 64 rows
  int32_t identity;         // of a map: M, whose state starts at the identity and whose values are zero
  int32_t forgotten;        // of a map: the first state decays to nothing before the chunks that are left
};

struct Counts {
  int32_t next, next_map;  // units taken beyond one a block
  int32_t segments, cuts;
};

// Where a chunk lies; `closed` of its rows are folded into the state.
struct ChunkRows {
  int32_t row, rows, closed;
  int32_t solve;  // 0 where no one needs the chunk
};

struct Params {
  CUtensorMap q, k, v, o_map;
  const float *log_g, *beta;
  int64_t log_g_stride, beta_stride;
  const __nv_bfloat16* k_rows;
  int64_t k_row_stride, k_head_stride;
  __nv_bfloat16* o;
  int64_t o_row_stride, o_head_stride;
  float *s, *open_k, *open_u, *open_g;
  int64_t s_pitch, k_pitch, u_pitch, g_pitch;  // elements from slot to slot
  float* checkpoints;
  int64_t checkpoint_pitch;
  const int32_t* checkpoint_cu;
  int32_t checkpoint_chunks;  // from one to the next; 0: none
  const int32_t *cu_seqlens, *start, *slots, *has_state;
  int64_t T;
  int32_t B, HK, HV, capacity;                 // capacity: rows of the open chunk, R
  int32_t max_chunks, max_segments, max_cuts;  // bounds known to the host
  int32_t sms;
  float scale;
  // Workspace.
  Counts* counts;
  Segment* segments;                   // [max_segments]
  int32_t* order;                      // [max_segments] longest first
  int32_t* cuts;                       // [max_cuts] the segments of cut sequences
  int32_t *first_segment, *first_cut;  // [B + 1] those of the sequences before
  int32_t* first_chunk;                // [B + 1] chunks of the sequences before
  int32_t* tickets;                    // [B, HK] value heads that no longer read the open keys
  ChunkRows* chunk_rows;               // [chunks]
  Solved* solved;                      // [chunks, HV]
  float *states, *maps;                // [max_cuts, HV, V, K] S at the segment's start, or N of the one before; M
  int32_t* mapped;                     // [max_cuts, HV] whether M is needed
};

// A value that is the same in every lane, so that it may live in a uniform register.
__device__ inline int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

__device__ inline float2 two(const float* x) { return *reinterpret_cast<const float2*>(x); }

// Rows of sequence b's chunk c: the first one ends at a multiple of 64 of the sequence's position.
struct Span {
  int32_t row, rows, chunks;
};
__device__ inline Span chunk_span(const Params& p, int b, int c) {
  const int begin = p.cu_seqlens[b], end = p.cu_seqlens[b + 1], first = min(kC - p.start[b] % kC, end - begin);
  const int row = c == 0 ? begin : begin + first + (c - 1) * kC;
  return {.row = row,
          .rows = c == 0 ? first : min(kC, end - row),
          .chunks = end == begin ? 0 : 1 + (end - begin - first + kC - 1) / kC};
}

// Rows of a sequence's last chunk that are folded into the stored S: up to the last multiple of `capacity`.
__device__ inline int closed_rows(const Params& p, int b, int last_rows) {
  const int stop = p.start[b] + p.cu_seqlens[b + 1] - p.cu_seqlens[b];
  return max(last_rows - stop % p.capacity, 0);
}

// What follows a chunk's last row belongs to another sequence, or to nobody, and might not be finite.
template <int Threads>
__device__ inline void clear_tail(uint8_t* tile, int rows) {
  const int begin = rows * kRowBytes / 16;
  for (int i = begin + threadIdx.x % Threads; i < kTile / 16; i += Threads) reinterpret_cast<uint4*>(tile)[i] = uint4{};
}

__device__ inline void load_keys_queries(const Params& p, KeysQueries& to, int key_head, int row, uint64_t* bar) {
  ptx::tma_load_3d(to.k0, &p.k, 0, key_head, row, bar);
  ptx::tma_load_3d(to.k1, &p.k, 64, key_head, row, bar);
  ptx::tma_load_3d(to.q0, &p.q, 0, key_head, row, bar);
  ptx::tma_load_3d(to.q1, &p.q, 64, key_head, row, bar);
}

}  // namespace sluice::gdn_sm90
