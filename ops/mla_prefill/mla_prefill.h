// mla_prefill: multi-head latent attention in its expanded form: each head has its own keys and values, k_pe is common to all.
//
//   s_j = scale (q[t, h, ..N] . k_nope[j, h] + q[t, h, N..] . k_pe[j])       over the keys j that row t sees
//   o[t, h] = sum_j softmax_j(s) v[j, h],   lse[t, h] = log sum_j e^s_j
//
// (DeepSeek-V2, arXiv 2405.04434, section 2.1; k_nope and v are the latent times W_kvb.) Rows and keys are packed sequence by
// sequence; n rows stand at the end of m keys: with `causal` row i sees the first m - n + i + 1 of them, without it all. A row
// without keys, as of an empty prefix: o = 0, lse = -inf. So a prompt in chunks is: each prefix chunk not causal, the new rows
// causal over their own keys, and merge_state over the results.
//
// Blocks of keys counted from the sequence's first (64; `sm90` 128 or 80), softmax running over them: a row's bits depend on its
// keys only. On the CPU a row reads nothing past its own keys; on a GPU a NaN there reaches the rows of its tile, one of another
// sequence none. Accumulation and softmax are fp32; a GPU's tensor cores take the weights as bf16. Tolerance: fp32 rel_rms 5e-6,
// max_rel 3e-5; bf16 8e-3, 2e-2.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"
#include "ops/merge_state/merge_state.h"

namespace sluice {

struct MlaPrefillArgs {
  Tensor q;                    // [T, H, N + P] f32 or bf16, stride free but in the last dimension
  Tensor k_nope;               // [S, H, N], q's type; as q
  Tensor k_pe;                 // [S, P], q's type; absent: P = 0
  Tensor v;                    // [S, H, V], q's type; as q
  Tensor cu_seqlens_q;         // [B + 1] i32, ascending from 0 to T
  Tensor cu_seqlens_k;         // [B + 1] i32, ascending from 0 to S
  Tensor o;                    // [T, H, V] f32 or bf16
  Tensor lse;                  // [T, H] f32, strides free; may be absent
  LseBase base = LseBase::kE;  // of lse
  float scale = 0;             // above 0; usually (N + P)^-0.5
  bool causal = true;
};

template <class F>
void each_tensor(MlaPrefillArgs& a, F&& f) {
  f(a.q), f(a.k_nope), f(a.k_pe), f(a.v), f(a.cu_seqlens_q), f(a.cu_seqlens_k), f(a.o), f(a.lse);
}

Status check_mla_prefill(const MlaPrefillArgs& a);
std::span<const Impl<MlaPrefillArgs>> mla_prefill_impls();
Status mla_prefill(Context& ctx, const MlaPrefillArgs& a);

}  // namespace sluice
