// kv_append: writes new keys and values into their pages. Position p of sequence b lies in page block_table[b, p / page],
// row p % page. A bf16 cache rounds to nearest even; all forms write the same bits.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct KvAppendArgs {
  Tensor k, v;         // [T, HKV, D] f32 or bf16, stride free but in the last dimension
  Tensor cu_seqlens;   // [B+1] i32
  Tensor start;        // [B] i32: position of the sequence's first row in this call
  Tensor block_table;  // [B, P] i32; entries past the sequence's end are not read; a bad one within it is kInvalidArgument; on a
                       // GPU, where numbers cannot be seen ahead, its rows are not written
  Tensor k_cache, v_cache;  // [pages, page, HKV, D] f32 or bf16, D contiguous
};

template <class F>
void each_tensor(KvAppendArgs& a, F&& f) {
  f(a.k), f(a.v), f(a.cu_seqlens), f(a.start), f(a.block_table), f(a.k_cache), f(a.v_cache);
}

Status check_kv_append(const KvAppendArgs& a);
std::span<const Impl<KvAppendArgs>> kv_append_impls();
Status kv_append(Context& ctx, const KvAppendArgs& a);

}  // namespace sluice
