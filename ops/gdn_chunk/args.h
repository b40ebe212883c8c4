// Arguments shared by gdn_prefill, gdn_verify and gdn_decode: rows of several sequences appended to their open chunks.
#pragma once

#include "ops/gdn_chunk/gdn_chunk.h"

namespace sluice {

struct GdnArgs {
  Tensor q, k;             // [T, HK, K] f32 or bf16, stride free but in the last dimension
  Tensor v;                // [T, HV, V] f32 or bf16, likewise
  Tensor log_g, beta;      // [T, HV] f32; log_g <= 0, beta in [0, 2]
  Tensor cu_seqlens;       // [B+1] i32: rows of sequence b are [cu[b], cu[b+1]); empty sequences are no-ops
  Tensor start;            // [B] i32: tokens of the sequence before this call; start % R rows are open
  Tensor slots;            // [B] i32, no two alike; < 0: padding, o is zero and nothing else is touched
  Tensor has_state;        // optional [B] i32: 0 = a new sequence, the slot's old content is ignored. Absent: new where start is 0
  GdnState state;          // read and written in place
  Tensor o;                // [T, HV, V] f32 or bf16
  float scale = 0;         // usually K^-0.5
  bool qk_l2norm = false;  // normalise q and k first, as op l2norm does
  float l2_eps = 1e-6f;
};

template <class F>
void each_tensor(GdnArgs& a, F&& f) {
  f(a.q), f(a.k), f(a.v), f(a.log_g), f(a.beta), f(a.cu_seqlens), f(a.start), f(a.slots), f(a.has_state);
  each_tensor(a.state, f), f(a.o);
}

}  // namespace sluice
