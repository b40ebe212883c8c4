// Step 1 on one logit: one expression for the vector forms and the kernels.
#pragma once

#include <cfloat>

#include "ops/sample/sample.h"

#ifdef __CUDACC__
#define SLUICE_SAMPLE_FUNCTION __device__ inline
#else
#define SLUICE_SAMPLE_FUNCTION inline __attribute__((always_inline))
#endif

namespace sluice {

// A finite z stays finite; -inf stays -inf.
SLUICE_SAMPLE_FUNCTION float sample_clamp(float z) { return z > FLT_MAX ? FLT_MAX : z < -FLT_MAX ? -FLT_MAX : z; }

// A product that is rounded before anything is subtracted from it: kernels would fuse the two.
SLUICE_SAMPLE_FUNCTION float sample_product(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

SLUICE_SAMPLE_FUNCTION float sample_penalize(float z, const TokenUse& use, const SamplingParams& p) {
  if (use.in_prompt || use.out_count > 0)
    z = sample_clamp(z > 0 ? z / p.repetition_penalty : sample_product(z, p.repetition_penalty));
  if (use.out_count <= 0) return z;
  z = sample_clamp(z - sample_product(p.frequency_penalty, float(use.out_count)));
  return sample_clamp(z - p.presence_penalty);
}

}  // namespace sluice
