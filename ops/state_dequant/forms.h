// The implementations, one a file.
#pragma once

#include "ops/state_dequant/state_dequant.h"

namespace sluice {

Status state_dequant_reference(Context&, const StateDequantArgs&, std::byte*);
Status state_dequant_cpu(Context&, const StateDequantArgs&, std::byte*);
Status state_dequant_avx2(Context&, const StateDequantArgs&, std::byte*);
Status state_dequant_avx512(Context&, const StateDequantArgs&, std::byte*);
Status state_dequant_cuda(Context&, const StateDequantArgs&, std::byte*);

}  // namespace sluice
