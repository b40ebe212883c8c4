// gdn_prefill on compute capability 10.0 and 10.3: the load warp and the gate warp.
#pragma once

#include "ops/gdn_prefill/sm100.cuh"

namespace sluice::gdn_sm100 {

// K, Q and V of a chunk's rows.
__device__ inline void load_rows(const Params& p, Stage& to, const Unit& u, int row, uint64_t* bar) {
  const int key_head = u.head / (p.HV / p.HK);
  ptx::mbarrier_arrive_expect(bar, sizeof to.rows + sizeof to.values);
  ptx::tma_load_3d(to.rows.k0, &p.k, 0, key_head, row, bar);
  ptx::tma_load_3d(to.rows.k1, &p.k, 64, key_head, row, bar);
  ptx::tma_load_3d(to.rows.q0, &p.q, 0, key_head, row, bar);
  ptx::tma_load_3d(to.rows.q1, &p.q, 64, key_head, row, bar);
  ptx::tma_load_3d(to.values[0], &p.v, 0, u.head, row, bar);
  ptx::tma_load_3d(to.values[1], &p.v, 64, u.head, row, bar);
}

// The load warp. Of a short chunk K's rest is cleared: every product sums over its rows, but Q's and V's rows are only their own.
__device__ inline void load_chunks(const Params& p, Shared& sm) {
  uint32_t tails = 0;
  each_chunk(p, [&](const Unit& u, int c, uint32_t n) {
    const Turn turn(n);
    Stage& stage = sm.stages[turn.stage];
    const bool whole = u.rows_of(c) == kC;
    turn.wait_empty(sm.done);
    if (threadIdx.x % 32 == 0) load_rows(p, stage, u, u.row_of(c), whole ? &sm.full[turn.stage] : &sm.tail);
    if (whole) return;
    wait_chunk(sm.tail, tails++);
    clear_tail(stage.rows.k0, u.rows_of(c)), clear_tail(stage.rows.k1, u.rows_of(c));
    ptx::fence_proxy_async();
    warp_arrive(&sm.full[turn.stage]);
  });
}

// The gate warp.
__device__ inline void make_all_gates(const Params& p, Shared& sm) {
  each_chunk(p, [&](const Unit& u, int c, uint32_t n) {
    const Turn turn(n);
    turn.wait_empty(sm.done);
    make_gates(GateInputs(p, u.head, u.row_of(c), u.rows_of(c)), p.scale, u.closed_of(c), sm.gates[turn.stage]);
    warp_arrive(&sm.full[turn.stage]);
  });
}

}  // namespace sluice::gdn_sm100
