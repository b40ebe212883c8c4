// The implementations, one a file.
#pragma once

#include "ops/moe_gate/moe_gate.h"

namespace sluice {

Status moe_gate_reference(Context&, const MoeGateArgs&, std::byte*);
Status moe_gate_cpu(Context&, const MoeGateArgs&, std::byte*);
Status moe_gate_avx2(Context&, const MoeGateArgs&, std::byte*);
Status moe_gate_avx512(Context&, const MoeGateArgs&, std::byte*);
Status moe_gate_cuda(Context&, const MoeGateArgs&, std::byte*);

}  // namespace sluice
