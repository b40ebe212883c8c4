// A batch's tables where the device reads them.
#pragma once

#include "core/memory.h"
#include "models/model.h"

namespace sluice {

// In the arena on a GPU, else the batch's own vectors.
inline Result<StepTables> bring_tables(Context& ctx, const Batch& b) {
  const int64_t T = b.rows(), B = b.sequences();
  StepTables t;
  SLUICE_RETURN_IF_ERROR(bring(ctx, {{&t.ids, Tensor::of(b.ids.data(), {T})},
                                     {&t.positions, Tensor::of(b.positions.data(), {T})},
                                     {&t.cu_seqlens, Tensor::of(b.cu_seqlens.data(), {B + 1})},
                                     {&t.cu_settled, Tensor::of(b.cu_settled.data(), {int64_t(b.cu_settled.size())})},
                                     {&t.cu_rest, Tensor::of(b.cu_rest.data(), {int64_t(b.cu_rest.size())})},
                                     {&t.start, Tensor::of(b.start.data(), {B})},
                                     {&t.slots, Tensor::of(b.slots.data(), {B})},
                                     {&t.seq_lens, Tensor::of(b.seq_lens.data(), {B})},
                                     {&t.block_table, Tensor::of(b.block_table.data(), {B, b.pages_per_sequence})},
                                     {&t.logit_rows, Tensor::of(b.logit_rows.data(), {int64_t(b.logit_rows.size())})},
                                     {&t.closed_rows, Tensor::of(b.closed_rows.data(), {B})}}));
  return t;
}

}  // namespace sluice
