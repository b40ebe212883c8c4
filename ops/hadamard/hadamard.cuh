// The transform of a row in the registers of neighbouring threads of a warp.
//
// A row of Runs * Lanes * kRun elements: element (j * Lanes + lane) * kRun + i is x[j][i] of thread `lane`. With few threads a row,
// few elements cross between threads, and each has several 16-byte accesses on their way.
#pragma once

#include "core/cuda/rows.cuh"

namespace sluice::cuda {

// Elements kApart apart within a thread's run.
template <int kApart, int Runs>
__device__ inline void hadamard_within(float (&x)[Runs][kRun]) {
#pragma unroll
  for (int j = 0; j < Runs; ++j)
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      if (!(i & kApart)) {
        const float a = x[j][i], b = x[j][i + kApart];
        x[j][i] = a + b, x[j][i + kApart] = a - b;
      }
}

// H x, not scaled. n < kRun, the row's length, only where one thread has it; every thread of the warp takes part.
template <int Lanes, int Runs>
__device__ inline void hadamard_unscaled(float (&x)[Runs][kRun], int n = kRun) {
  if (n > 1) hadamard_within<1>(x);
  if (n > 2) hadamard_within<2>(x);
  if (n > 4) hadamard_within<4>(x);
#pragma unroll
  for (int apart = 1; apart < Lanes; apart *= 2) {
    const float sign = threadIdx.x & unsigned(apart) ? -1.0f : 1.0f;
#pragma unroll
    for (int j = 0; j < Runs; ++j)
#pragma unroll
      for (int i = 0; i < kRun; ++i) x[j][i] = fmaf(x[j][i], sign, __shfl_xor_sync(0xffffffffu, x[j][i], apart));
  }
#pragma unroll
  for (int apart = 1; apart < Runs; apart *= 2)
#pragma unroll
    for (int j = 0; j < Runs; ++j)
      if (!(j & apart))
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          const float a = x[j][i], b = x[j + apart][i];
          x[j][i] = a + b, x[j + apart][i] = a - b;
        }
}

}  // namespace sluice::cuda
