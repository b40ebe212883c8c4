// The implementations, one a file.
#pragma once

#include "ops/state_quant/state_quant.h"

namespace sluice {

Status state_quant_reference(Context&, const StateQuantArgs&, std::byte*);
Status state_quant_cpu(Context&, const StateQuantArgs&, std::byte*);
Status state_quant_avx2(Context&, const StateQuantArgs&, std::byte*);
Status state_quant_avx512(Context&, const StateQuantArgs&, std::byte*);
Status state_quant_cuda(Context&, const StateQuantArgs&, std::byte*);

}  // namespace sluice
