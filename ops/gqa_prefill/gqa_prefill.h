// gqa_prefill: causal grouped-query attention over a paged cache, any number of new rows a sequence, optional output gate.
//
//   o[t, h] = sum_j softmax_j(scale q[t, h].k[j, h / (HQ/HKV)]) v[j, ..],  j = first_key .. position(t)
//   o *= sigmoid(gate) where given
//   lse[t, h] = ln sum_j exp(scale q.k)                                    base e
//
// The rows of sequence b are its last ones: row i stands at position seq_lens[b] - (rows of b) + i; keys and values up to
// seq_lens[b] are in the cache already (kv_append first).
// Softmax visits blocks of 64 keys aligned to absolute position, keys ascending within each; every 512 keys, also aligned, give a
// partial result, and these are merged in order. So a row's bits do not depend on how many rows come with it, on the page size or
// on the threads. A row reads no value past its own position, and no key past its sequence's last row in the call.
// On a GPU the order of a row's sums is its form's, and depends on the row's own keys alone: gqa_decode gives the same bits by the
// same form, which `sm90` is not, as it serves several rows only. It and `portable_mma` keep no row from the values behind its
// position that other rows of its tile see, but give them a weight of 0: these values must be finite. bf16 caches: q is
// rounded to bf16 before the products, as attention operands are, and with a bf16 o softmax's weights may be; accumulation and
// softmax are fp32. Tolerance: fp32 rel_rms 5e-6, max_rel 3e-5; bf16 8e-3, 2e-2.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct GqaArgs {
  Tensor q;                 // [T, HQ, D] f32 or bf16, stride free but in the last dimension
  Tensor gate;              // optional, as q
  Tensor k_cache, v_cache;  // [pages, page, HKV, D] f32 or bf16, both alike, D contiguous
  Tensor block_table;       // [B, P] i32; entries past the end are not read; one within it that is no page is refused; on a GPU,
                            // where numbers cannot be seen ahead, its keys are anything, read from nowhere outside the cache
  Tensor seq_lens;          // [B] i32: tokens in the cache, the new ones included; 0: padding, o is zero, lse is -inf
  Tensor cu_seqlens;        // [B+1] i32, from 0 to T: rows of q of each sequence. gqa_decode: absent, one row each
  Tensor o;                 // [T, HQ, D] f32 or bf16
  Tensor lse;               // optional [T, HQ] f32
  float scale = 0;          // above 0, usually D^-0.5
  // Keys before it do not exist, and no row stands there: 0 to 63. A draft head has none at position 0 (models/qwen3_5.cc).
  int64_t first_key = 0;
};

template <class F>
void each_tensor(GqaArgs& a, F&& f) {
  f(a.q), f(a.gate), f(a.k_cache), f(a.v_cache), f(a.block_table), f(a.seq_lens), f(a.cu_seqlens), f(a.o), f(a.lse);
}

struct GqaPrefillArgs : GqaArgs {};

Status check_gqa(const char* op, const GqaArgs& a, bool one_row_each);
Status check_gqa_prefill(const GqaPrefillArgs& a);
std::span<const Impl<GqaPrefillArgs>> gqa_prefill_impls();
Status gqa_prefill(Context& ctx, const GqaPrefillArgs& a);

}  // namespace sluice
