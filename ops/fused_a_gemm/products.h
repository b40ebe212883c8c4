// With a bf16 w the operator is a matmul.
#pragma once

#include "ops/fused_a_gemm/forms.h"
#include "ops/matmul/forms.h"

namespace sluice {

inline MatmulArgs product_of(const FusedAGemmArgs& args) { return {.x = args.x, .w = args.w, .y = args.y}; }

}  // namespace sluice
