// The open chunk: the recurrent state of gated delta layers as Sluice keeps it.
//
// A sequence at position p has S at the last multiple of 64 tokens (fp32) and n = p % 64 rows (k, u, G) of the tokens since.
// Appending row i (0 <= i < 64; G_i is the sum of log_g over rows 0..i; k after l2norm):
//
//   u_i = beta_i (v_i - e^{G_i} S^T k_i - sum_{j<i} e^{G_i-G_j} (k_i.k_j) u_j)          j ascending
//   o_i = scale (e^{G_i} S^T q_i + sum_{j<=i} e^{G_i-G_j} (q_i.k_j) u_j)
//   after row 63:  S <- e^{G_63} S + sum_j e^{G_63-G_j} k_j u_j^T, and the rows are empty
//
// which is the gated delta rule S_t = e^{g_t} S_{t-1} + beta_t k_t (v_t - e^{g_t} S_{t-1}^T k_t)^T, o_t = scale S_t^T q_t, with
// the rank-one updates kept apart (Yang et al., "Gated Delta Networks", 2024, section 3.3, in the form without an inverse).
// Row i takes the same arithmetic whether it comes alone (gdn_decode), in fours (gdn_verify) or in a block (gdn_prefill), so all
// give the same bits. exp(-G) is never formed: only exp(G_i - G_j) with i >= j.
//
// Value head h reads key head h / (HV / HK).
#pragma once

#include "core/check.h"
#include "core/tensor.h"

namespace sluice {

inline constexpr int kChunk = 64;  // tokens; rows of the open chunk

// The pool's memory of one layer. Slot s of every tensor belongs to one sequence. Slot pitch (stride 0) is free.
//
// R is how many rows a chunk may leave open: 64 on the CPU; 16, 32 or 64 on a GPU, where a chunk is then closed in parts of R rows,
// at multiples of R tokens. Read R for 64 above.
struct GdnState {
  Tensor s;  // [S, HV, K, V] f32 (on a GPU bf16 too): state at the last multiple of R. V contiguous; on a GPU K contiguous
  Tensor k;  // [S, HK, K, R] f32: keys of the open rows. R contiguous, so that 16 rows are one vector; on a GPU K contiguous
  Tensor u;  // [S, HV, R, V] f32: corrected values of the open rows
  Tensor g;  // [S, HV, R] f32: G of the open rows
};

template <class F>
void each_tensor(GdnState& a, F&& f) {
  f(a.s, GpuLayout::kSwapLastTwo), f(a.k, GpuLayout::kSwapLastTwo), f(a.u), f(a.g);
}

// Dimensions every gdn operator agrees on.
struct GdnDims {
  int64_t HK = 0, HV = 0, K = 0, V = 0, S = 0;
};

}  // namespace sluice
