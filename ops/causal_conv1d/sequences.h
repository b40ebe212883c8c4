// The check of cu_seqlens and slots, for the operators that take several sequences and a convolution state.
#pragma once

#include "core/check.h"

namespace sluice {

// cu_seqlens [B+1] i32 rises within [0, rows]; slots [B] i32, each below pool_slots. Values are read where they lie on the CPU.
void check_sequences(ArgCheck& c, const Tensor& cu_seqlens, const Tensor& slots, int64_t rows, int64_t pool_slots);

}  // namespace sluice
