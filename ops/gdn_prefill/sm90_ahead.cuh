// gdn_prefill on compute capability 9.0: T and P T of all chunks ahead of the update, where there are few for each multiprocessor.
#pragma once

#include "ops/gdn_prefill/sm90_load.cuh"

namespace sluice::gdn_sm90 {

inline constexpr int kSolveBlocks = 4;   // a multiprocessor; one block's waits are another's work
inline constexpr int kAheadBarrier = 1;  // of the 16 hardware barriers
inline constexpr int kMaxHeads = 4;      // value heads of one key head that a block takes: they share K K^T and Q K^T

struct SolveShared {
  union {
    KeysQueries kq;
    Solved solved[2];  // of two heads, once K and Q are used up
  };
  Inverses inverses;
  Gates gates[kMaxHeads];
  uint64_t full;
};

// Block (n, y): value heads [y * heads, (y + 1) * heads) of chunk n.
__global__ void __launch_bounds__(kGroup, kSolveBlocks) gdn_prefill_sm90_solve(const __grid_constant__ Params p, int heads) {
  extern __shared__ __align__(1024) uint8_t memory[];
  SolveShared& sm = *reinterpret_cast<SolveShared*>(memory);
  const int n = blockIdx.x, head = blockIdx.y * heads, warp = uniform(threadIdx.x / 32);
  const bool leader = threadIdx.x == 0;
  if (leader) ptx::mbarrier_init(&sm.full, 1), ptx::fence_barrier_init();
  cuda::wait_for_previous_kernel();
  if (n >= p.counts->chunks) return;
  const ChunkRows chunk = p.chunk_rows[n];
  if (chunk.rows == 0) return;
  __syncthreads();
  if (leader) load_rows<false>(p, sm.kq, head / (p.HV / p.HK), chunk.row, &sm.full);
  if (warp < heads) {
    const GateInputs in(p, head + warp, chunk.row, chunk.rows);
    make_gates(in, p.scale, chunk.rows, sm.gates[warp]);
    make_decays(in, p.scale, sm.gates[warp]);
  }
  ptx::mbarrier_wait(&sm.full, 0);
  if (chunk.rows < kC) {
    if (warp == 0) clear_tail(sm.kq.k0, chunk.rows);
    if (warp == 1) clear_tail(sm.kq.k1, chunk.rows);
    ptx::fence_proxy_async();
  }
  __syncthreads();
  uint32_t kk[16], qk[16];
  multiply_rows<true>(kk, qk, ptx::wgmma_operand(ptx::shared_address(&sm.kq), 0, 1024));
  __syncthreads();
  for (Solved& solved : sm.solved)
    for (int i = threadIdx.x; i < kTile / 16; i += kGroup) reinterpret_cast<uint4*>(solved.t)[i] = uint4{};
  for (int h = 0; h < heads; ++h) {
    Solved& solved = sm.solved[h % 2];
    if (leader) ptx::bulk_wait_read<1>();
    __syncthreads();
    solve_head<true>(Place(ptx::opaque(int(threadIdx.x % 32))), kk, qk, sm.gates[h], sm.inverses, solved, p.scale, kAheadBarrier);
    __syncthreads();
    if (leader) ptx::bulk_store(&p.solved[int64_t(n) * p.HV + head + h], &solved, sizeof(Solved)), ptx::bulk_commit();
  }
  if (leader) ptx::bulk_wait<0>();
}

}  // namespace sluice::gdn_sm90
