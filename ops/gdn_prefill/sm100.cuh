// gdn_prefill on compute capability 10.0 and 10.3: work, parameters and memory of the kernels in sm100.cu. Compiled, never run.
//
// The algebra of a chunk is in tuned.cuh. A block takes one value head of one sequence after the other through their chunks. S^T
// and all products are in tensor memory, a lane a column of V. Warps by role, each going through the same chunks:
//
//   0-3   a thread a lane: W, U, O and S between the products                        sm100_state.cuh
//   4-7   T and P T, which need no state, ahead of the others                        sm100_solve.cuh
//   8, 9  K, Q and V by the copy engine; the factors that come from gates            sm100_load.cuh
//   10    starts the products with S                                                 sm100_state.cuh
//   11    starts [K; Q] K^T                                                          sm100_solve.cuh
//
// A second launch puts the keys of rows that stay open into the pool, once no value head reads those of before.
#pragma once

#include <cuda_bf16.h>

#include "core/cuda/launch.h"
#include "core/cuda/tcgen05.h"
#include "ops/gdn_prefill/tuned.cuh"

namespace sluice::gdn_sm100 {

namespace ptx = cuda::ptx;
using namespace gdn_tuned;

inline constexpr int kStages = 3;  // one chunk is loaded and one solved while S goes through a third

// Columns of tensor memory. 16-bit operands take half as many as they have elements.
inline constexpr uint32_t kState = 0;           // S^T
inline constexpr uint32_t kKnown = 128;         // S K^T, then U^T
inline constexpr uint32_t kSeen = 192;          // S Q^T; behind S K^T, since one product makes both
inline constexpr uint32_t kOut = 256;           // (P T W)^T
inline constexpr uint32_t kStateOperand = 320;  // S^T as bf16
inline constexpr uint32_t kWOperand = 384;      // W^T as fp16; then what bf16 leaves of U^T, where S is stored
inline constexpr uint32_t kUOperand = 416;      // U^T as bf16
inline constexpr uint32_t kGram = 448;          // lanes 0 to 63: K K^T; 64 to 127: Q K^T
inline constexpr int kColumns = 512;

struct Params : Call {
  CUtensorMap q, k, v;
};

// One value head of one sequence.
struct Unit {
  int seq, head, slot;      // slot < 0: padding, its outputs are zero
  int row, end;             // rows [row, end) of q, k, v
  int chunks, first, last;  // chunks; rows of the first and of the last
  int open;                 // rows of the open chunk that are folded into the loaded state
  int closed, open_at;      // rows of the last chunk that are folded into the stored state; the pool's row for the one after them
  int position, whole;      // the first chunk's number in the sequence, earlier calls counted; chunks that end at a multiple of 64
  bool fresh, keep;         // the state starts at zero; the state is stored

  __device__ int row_of(int c) const { return c == 0 ? row : row + first + (c - 1) * kC; }
  __device__ int rows_of(int c) const { return c == 0 ? first : c + 1 == chunks ? last : kC; }
  // Those that are folded into the state.
  __device__ int closed_of(int c) const { return c + 1 == chunks ? closed : rows_of(c); }
};

__device__ inline Unit make_unit(const Params& p, int seq, int head) {
  Unit u{.seq = seq, .head = head, .slot = p.slots[seq], .row = p.cu_seqlens[seq], .end = p.cu_seqlens[seq + 1]};
  if (u.slot >= p.slot_count) u.slot = -1;
  if (u.slot < 0) return u;
  const int rows = u.end - u.row, start = p.start[seq], stop = start + rows, multiple = stop - stop % p.capacity;
  u.first = min(kC - start % kC, rows);  // it ends at a multiple of 64 of the sequence's position
  u.chunks = rows == 0 ? 0 : 1 + (rows - u.first + kC - 1) / kC;
  u.last = u.chunks <= 1 ? u.first : (rows - u.first - 1) % kC + 1;
  u.fresh = p.has_state ? p.has_state[seq] == 0 : start == 0;
  u.keep = u.fresh || multiple > start;
  u.open = u.fresh ? 0 : start % p.capacity;
  u.open_at = multiple > start ? 0 : u.open;
  u.closed = max(u.last - stop % p.capacity, 0);  // up to the last multiple of `capacity`
  u.position = start / kC, u.whole = u.chunks - (stop % kC != 0);
  return u;
}

// Whether S is stored as it is after chunk c. Where keys are alike, rows of U cancel in S, and only later chunks make the rounding
// of its bf16 operand good: here what rounding left is added as well.
__device__ inline bool stored_after(const Params& p, const Unit& u, int c) {
  return at_checkpoint(p, u, c) || (u.keep && c == u.chunks - 1 - (u.closed == 0));
}

// Calls f(unit, n) for every unit of this block; n counts the chunks before it.
template <class F>
__device__ inline void each_unit(const Params& p, F f) {
  uint32_t n = 0;
  for (int64_t i = blockIdx.x; i < int64_t(p.B) * p.HV; i += gridDim.x) {
    const Unit u = make_unit(p, int(i / p.HV), int(i % p.HV));
    f(u, n);
    n += u.chunks;
  }
}

// Calls f(unit, c, n) for every chunk c of every unit; n counts the chunks before it.
template <class F>
__device__ inline void each_chunk(const Params& p, F f) {
  each_unit(p, [&](const Unit& u, uint32_t n) {
    for (int c = 0; c < u.chunks; ++c) f(u, c, n + c);
  });
}

// What a chunk's products read.
struct Stage {
  KeysQueries rows;
  uint8_t values[2][kTile];  // V, 64 features a tile
  uint8_t solved[2][kTile];  // T, and behind it P T, as fp16; swizzled like the others
};

struct Gates : RowFactors {
  float whole;  // e^{G_last}
  float pad[3];
};

// A row of L starts four banks behind the one before it.
inline constexpr int kLowerPitch = kC + 4;

struct Shared {
  Stage stages[kStages];
  float lower[kC][kLowerPitch];  // L, zero on and above the diagonal
  Gates gates[kStages];
  // Arrivals a stage: K, Q, V and the gates are there; T and P T; the chunk is in the state and its output made.
  uint64_t full[kStages], solved[kStages], done[kStages];
  // Arrivals a chunk. By the tensor cores: [K; Q] K^T; S K^T and S Q^T; U; P T W; S. By threads: [K; Q] K^T is used; S, W and U are
  // operands.
  uint64_t gram, known, u, out, state, gram_used, state_operand, w_operand, u_operand;
  uint64_t tail;  // the rows of a short chunk, whose rest is to be cleared
  uint32_t tensor_memory;
};
static_assert(sizeof(Shared) <= 227 << 10 && sizeof(KeysQueries) % 1024 == 0 && sizeof(Stage) % 1024 == 0);

inline constexpr int kGroupWarps = kGroup / 32;

__device__ inline void init_barriers(Shared& sm) {
  for (auto& bar : sm.full) ptx::mbarrier_init(&bar, 2);                // load and gate warps
  for (auto& bar : sm.done) ptx::mbarrier_init(&bar, kGroupWarps + 1);  // warps of the state, the products' commit
  for (auto& bar : sm.solved) ptx::mbarrier_init(&bar, kGroupWarps);
  for (uint64_t* bar : {&sm.gram, &sm.known, &sm.u, &sm.out, &sm.state, &sm.tail}) ptx::mbarrier_init(bar, 1);
  for (uint64_t* bar : {&sm.gram_used, &sm.state_operand, &sm.w_operand, &sm.u_operand}) ptx::mbarrier_init(bar, kGroupWarps);
  ptx::fence_barrier_init();
}

// The stage of the n-th chunk. A user of it waits for `full` or `solved`, its fillers for `done`.
struct Turn {
  int stage;
  uint32_t phase;
  __device__ explicit Turn(uint32_t n) : stage(n % kStages), phase(n / kStages % 2) {}
  __device__ void wait_full(uint64_t (&full)[kStages]) const { ptx::mbarrier_wait(&full[stage], phase); }
  __device__ void wait_empty(uint64_t (&done)[kStages]) const { ptx::mbarrier_wait(&done[stage], phase ^ 1); }
};

// Waits for what happens once a chunk, in the n-th one.
__device__ inline void wait_chunk(uint64_t& bar, uint32_t n) { ptx::mbarrier_wait(&bar, n % 2); }

// The same, of what products have made or used.
__device__ inline void wait_products(uint64_t& bar, uint32_t n) {
  wait_chunk(bar, n);
  ptx::tcgen05_fence_after();
}

// An arrival of a warp, once its accesses to tensor memory are over: products may follow.
__device__ inline void warp_arrive_for_products(uint64_t* bar) {
  ptx::tmem_wait_store();
  ptx::tcgen05_fence_before();
  warp_arrive(bar);
}

// The lanes of tensor memory that this thread's warp reaches.
__device__ inline uint32_t own_lanes(uint32_t tensor_memory) { return tensor_memory + (threadIdx.x / 32 % 4 * 32 << 16); }

// 32 columns of this thread's lane.
__device__ inline void fetch(float (&r)[32], uint32_t address) {
  ptx::tmem_load(r, address);
  ptx::tmem_wait_load();
  ptx::pin(r);
}

// An operand whose rows of 128 bytes lie along the summed dimension.
__device__ inline uint64_t rows_operand(const void* tile) { return ptx::tcgen05_operand(ptx::shared_address(tile), 0, 1024); }

}  // namespace sluice::gdn_sm100
