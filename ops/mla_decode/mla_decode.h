// mla_decode: multi-head latent attention in its absorbed form: all heads share one key row, whose first part is the value.
//
//   s_j = scale (q_nope[t, h] . c_j + q_pe[t, h] . k_pe_j)       over the keys j that row t sees
//   o[t, h] = sum_j softmax_j(s) c_j,   lse[t, h] = log sum_j e^s_j       q_nope = q W_UK before, o W_UV^T after the call
//
// (DeepSeek-V2, arXiv 2405.04434, section 2.1; DeepSeek-V3.2 for the sparse form.) A cached row is the latent c and then the
// rotated k_pe. Which keys a row sees:
//
//   dense    those of its sequence up to its own position. Row i of the n rows of sequence b stands at position
//            seq_lens[b] - n + i; one before position 0 sees none (padding: seq_lens 0).
//   sparse   with indices: slots of the cache, page number * page size + place in the page, in any order. An entry below 0 is
//            skipped. The other integer tensors are not read and may be absent.
//
// A row without keys: o = 0, lse = -inf. Blocks of 64 list entries, softmax running over them; on the CPU every 512 entries give a
// partial result, and these are merged in order: a row's bits depend on its list of keys only. On a GPU they depend on how many
// rows come with it too, by which a list is split; and without cu_seqlens a NaN in a key of a sequence's last row may reach its
// other rows, which share a tile.
//
// fp8 rows ("V32", deepseek-ai/FlashMLA): R bytes of e4m3, R / 128 fp32 scales, P bf16 of k_pe: 656 bytes for 512 and 64. They
// stand for bf16 rows, e4m3 * scale rounded to bf16 (exact for scales that are powers of two).
// q is rounded to the cache's type before the products (bf16 for fp8); softmax and accumulation are fp32; a GPU's tensor cores take
// the weights as bf16.
// Tolerance: f32 caches rel_rms 5e-6, max_rel 3e-5; bf16 and fp8 8e-3, 2e-2.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"
#include "ops/merge_state/merge_state.h"

namespace sluice {

struct MlaDecodeArgs {
  Tensor q_nope;       // [T, H, R] f32 or bf16, stride free but in the last dimension
  Tensor q_pe;         // [T, H, P], as q_nope
  Tensor kv;           // [pages, page, R + P] f32 or bf16, or [pages, page, bytes of an fp8 row] f8 e4m3 or u8; last stride 1
  Tensor block_table;  // [B, pages of the longest] i32; entries past a sequence's end are not read
  Tensor seq_lens;     // [B] i32: keys in the cache, those of the new rows included
  Tensor cu_seqlens;   // [B + 1] i32, from 0 to T: rows of each sequence; absent: T / B rows each
  Tensor indices;      // [T, K] i32, last stride 1: the sparse form; may be absent
  Tensor o;            // [T, H, R] f32 or bf16
  Tensor lse;          // [T, H] f32, strides free; may be absent
  LseBase base = LseBase::kE;  // of lse
  float scale = 0;             // above 0; usually (nope + P)^-0.5 of the form before absorption
};

// Bytes of an fp8 row.
constexpr int64_t kMlaScaleGroup = 128;  // elements that share a scale
constexpr int64_t mla_fp8_row_bytes(int64_t latent, int64_t rope) { return latent + latent / kMlaScaleGroup * 4 + 2 * rope; }

template <class F>
void each_tensor(MlaDecodeArgs& a, F&& f) {
  f(a.q_nope), f(a.q_pe), f(a.kv), f(a.block_table), f(a.seq_lens), f(a.cu_seqlens), f(a.indices), f(a.o), f(a.lse);
}

Status check_mla_decode(const MlaDecodeArgs& a);
std::span<const Impl<MlaDecodeArgs>> mla_decode_impls();
Status mla_decode(Context& ctx, const MlaDecodeArgs& a);

}  // namespace sluice
