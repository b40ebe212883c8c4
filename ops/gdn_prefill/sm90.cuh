// gdn_prefill on compute capability 9.0: sizes, work units and parameters of the kernels in sm90.cu.
//
// The algebra of a chunk is in tuned.cuh. T and P T need no state. Kernels, each waiting for the one before:
//   normalise   q and k where the call asks for it                                    sm90_plan.cuh
//   plan    lists the units of work, longest first                                    sm90_plan.cuh
//   solve   T and P T, where chunks are few; elsewhere map and update make them       sm90_ahead.cuh
//   map     where long sequences are cut into segments: N and M of S' = M S + N       sm90_map.cuh
//   join    each segment's first state from them                                      sm90_map.cuh
//   update  a block takes value heads of segments through their chunks                sm90_update.cuh
//
// A block of map and update has a load warp, a gate warp (sm90_load.cuh) and two groups with 64 rows of S^T each in registers.
// Where they solve as well (sm90_solve.cuh), each takes every other chunk, and is at work on the state while the other solves: the
// products of a solution are small and depend on each other, and mma.sync waits behind every wgmma that is queued.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/cuda/launch.h"
#include "core/cuda/wgmma.h"
#include "ops/gdn_prefill/tuned.cuh"

namespace sluice::gdn_sm90 {

namespace ptx = cuda::ptx;
using namespace gdn_tuned;

// D_ij = e^{G_i-G_j} is taken apart left of the diagonal blocks of 16 rows, G_r standing ahead of the block row: e^{G_i-G_r}
// e^{G_r-G_j}, both exponents negative.
struct Gates : RowFactors {
  __half row_l[kC][2], row_p[kC][2];  // e^{G_i-G_r} times beta and times scale, twice
  __half row_d[kC][2];                // beta, twice
  __half column[3][kC];               // e^{G_r-G_j} of block rows 1 to 3
  __half diagonal[4][16][16];         // D_ij, zero above the diagonal
  float whole;                        // e^{G_last}
  float pad[3];
};

// Transposed inverses of the diagonal blocks of I + L, fp16: row c of a block has column c.
struct Inverses {
  uint8_t data[4 * 512];
  // Where 16 bytes of a row lie; halves of rows change places so that eight rows fall on different banks.
  __host__ __device__ static constexpr uint32_t place(int block, int row, int half) {
    return block * 512 + row * 32 + ((half ^ (row / 4)) & 1) * 16;
  }
};

// T and P T of a chunk, fp16, swizzled. Until P T is there its tile holds L.
struct Solved {
  uint8_t t[kTile], pt[kTile];
};

// One value head of one segment: a run of chunks of a sequence.
struct Unit {
  int32_t head;             // -1: there is no more work
  int32_t seq, slot;        // slot < 0: padding, its outputs are zero
  int32_t row, end;         // rows [row, end) of q, k, v
  int32_t first, chunks;    // rows of the first chunk; chunks
  int32_t open;             // rows of the open chunk that are folded into the loaded state
  int32_t closed, open_at;  // rows of the last chunk that are folded into the stored state; the pool's row for the one after them
  int32_t fresh, keep;      // the state starts at zero; the state is stored
  int32_t begins, ends;     // whether these are the sequence's first and last chunks
  int32_t index;            // of the first chunk among all
  int32_t state;            // index of the segment's first state where the sequence is cut; otherwise -1: it is the pool's
  int32_t position, whole;  // the first chunk's number in the sequence, chunks of earlier calls counted; chunks that end at 64 rows
  int32_t identity;         // of a map: M, whose state starts at the identity and whose values are zero
  int32_t forgotten;        // of a map: the first state decays to nothing before the chunks that are left
};
inline constexpr int kUnitWords = sizeof(Unit) / 4;
static_assert(kUnitWords <= 32);  // a lane a word

struct Counts {
  int32_t next, next_map;  // units taken beyond one a block
  int32_t segments, cuts, chunks;
};

// Where a chunk lies.
struct ChunkRows {
  int32_t row, rows;
};

struct Params : Call {
  CUtensorMap q, k, v, o_map;
  int64_t T;
  int32_t max_chunks, max_segments, max_cuts;  // bounds known to the host
  int32_t sms;
  // Workspace.
  Counts* counts;
  Unit* units;            // [max_segments] longest first; `head` is the taker's
  Unit* cut_units;        // [max_cuts] those of cut sequences, by `state`
  int32_t* first_chunk;   // [B] chunks of the sequences before
  ChunkRows* chunk_rows;  // [max_chunks] where `solve` runs
  Solved* solved;         // [max_chunks, HV]; null where update solves
  int32_t* tickets;       // [B, HK] value heads that no longer read the open keys
  float *states, *maps;   // [max_cuts, HV, V, K] S at the segment's start, or N of the one before; M
  int32_t* mapped;        // [max_cuts, HV] whether M is needed
};

// A value that is the same in every lane, so that it may live in a uniform register.
__device__ inline int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

__device__ inline float2 two(const float* x) { return *reinterpret_cast<const float2*>(x); }

// The n-th use of a ring of N stages. A user of the stage waits for `full`, its filler for `empty`.
template <int N>
struct Turn {
  int stage;
  uint32_t phase;
  __device__ explicit Turn(uint32_t n) : stage(n % N), phase(n / N % 2) {}
  __device__ void wait_full(uint64_t (&full)[N]) const { ptx::mbarrier_wait(&full[stage], phase); }
  __device__ void wait_empty(uint64_t (&empty)[N]) const { ptx::mbarrier_wait(&empty[stage], phase ^ 1); }
};

__device__ inline float* segment_state(float* states, const Params& p, int state, int head) {
  return states + (int64_t(state) * p.HV + head) * kDim * kDim;
}

}  // namespace sluice::gdn_sm90
