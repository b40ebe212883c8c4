// embed: rows of a table. out[t] = table[ids[t]], widened to fp32. Exact; of a quantised table code * scale, rounded once.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/quantised.h"
#include "core/tensor.h"

namespace sluice {

struct EmbedArgs {
  Tensor ids;    // [T] i32; each in [0, rows of the table), else kInvalidArgument; on a GPU, where ids cannot be seen ahead,
                 // a row of NaN
  Tensor table;  // [V, D] f32 or bf16, stride free in dimension 0; or, with a scale, codes of int8 or int4 (core/quantised.h)
  Tensor scale;  // of a quantised table, else absent. CPU only
  Tensor out;    // [T, D] f32, stride free in dimension 0
};

template <class F>
void each_tensor(EmbedArgs& a, F&& f) {
  f(a.ids), f(a.table), f(a.scale), f(a.out);
}

Status check_embed(const EmbedArgs& a);
std::span<const Impl<EmbedArgs>> embed_impls();
Status embed(Context& ctx, const EmbedArgs& a);

}  // namespace sluice
