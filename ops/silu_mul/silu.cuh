// silu(gate) * up in kernels.
#pragma once

#include "core/cuda/ptx.h"

namespace sluice::cuda {

__device__ inline float silu_times(float gate, float up) {
  constexpr float kLog2E = 1.44269504f;
  return gate * ptx::rcp_approx(1 + ptx::exp2_approx(-kLog2E * gate)) * up;
}

}  // namespace sluice::cuda
