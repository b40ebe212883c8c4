// embed: rows of a table. out[t] = table[ids[t]], widened to fp32.
#pragma once

#include <span>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

struct EmbedArgs {
  Tensor ids;    // [T] i32; each in [0, rows of the table), else kInvalidArgument
  Tensor table;  // [V, D] f32 or bf16, stride free in dimension 0
  Tensor out;    // [T, D] f32, stride free in dimension 0
};

Status check_embed(const EmbedArgs& a);
std::span<const Impl<EmbedArgs>> embed_impls();
Status embed(Context& ctx, const EmbedArgs& a);

}  // namespace sluice
