// The gates of one head and row in kernels.
#pragma once

#include "core/cuda/rows.cuh"

namespace sluice::cuda {

// Numbers of a tensor [T, H] or [H], fp32 or bf16.
struct FloatsView {
  const void* data;
  int64_t row_stride;
  bool bf16;

  explicit FloatsView(const Tensor& t) : data(t.data), row_stride(t.rank == 2 ? t.stride[0] : 0), bf16(t.dtype == DType::kBF16) {}
  __device__ float at(int64_t row, int64_t i) const {
    const int64_t e = row * row_stride + i;
    return bf16 ? to_float(static_cast<const Bf16*>(data)[e]) : static_cast<const float*>(data)[e];
  }
};

struct Gates {
  float log_g, beta;
};

// rate = -exp(A_log); top = 1, or 2 with allow_neg_eigval.
__device__ inline Gates gates_of(float a, float b, float rate, float dt_bias, float top) {
  const float x = a + dt_bias, softplus = fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
  return {rate * softplus, top / (1 + expf(-b))};
}

}  // namespace sluice::cuda
