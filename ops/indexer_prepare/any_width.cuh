// Rows of any length up to 1024 and any rotary dimensions, a warp a row, in shared memory; the models' 128 and 64 have a kernel of
// their own.
#pragma once

#include "core/cuda/launch.h"
#include "ops/indexer_prepare/rows.cuh"

namespace sluice::cuda {

inline constexpr int kAnyWidthWarps = 4;  // of a block

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
  return x;
}

// Element d of a row of the type.
__device__ inline float element(const void* row, int d, DType type) {
  return type == DType::kBF16 ? to_float(static_cast<const Bf16*>(row)[d]) : static_cast<const float*>(row)[d];
}
__device__ inline void put_element(void* row, int d, float x, DType type) {
  if (type == DType::kBF16) static_cast<Bf16*>(row)[d] = from_float<Bf16>(x);
  else static_cast<float*>(row)[d] = x;
}
__device__ inline const void* row_start(const RowsView& v, const RowPlace& place, DType type) {
  return type == DType::kBF16 ? static_cast<const void*>(v.row<Bf16>(place)) : v.row<float>(place);
}

// One warp's row of fp32 in shared memory.
struct SharedRow {
  float* x;
  int n, lane;

  template <class F>
  __device__ void each(F&& f) const {
    for (int d = lane; d < n; d += kWarp) f(d);
  }
  __device__ void load(const void* from, DType type) const {
    each([&](int d) { x[d] = element(from, d, type); });
    __syncwarp();
  }
  __device__ void normalise(const PreparedKeys& k, float eps) const {
    float sum = 0, squares = 0;
    each([&](int d) { sum += x[d]; });
    const float mean = group_sum(sum) / float(n);
    each([&](int d) { squares = fmaf(x[d] - mean, x[d] - mean, squares); });
    const float factor = rsqrtf(group_sum(squares) / float(n) + eps);
    each([&](int d) {
      x[d] = fmaf((x[d] - mean) * factor, element(k.norm_weight, d, k.norm_type), element(k.norm_bias, d, k.norm_type));
    });
    __syncwarp();
  }
  __device__ void rope(const float* cos_sin, int pairs, bool interleaved) const {
    for (int i = lane; i < pairs; i += kWarp) {
      const int one = interleaved ? 2 * i : i, two = interleaved ? 2 * i + 1 : i + pairs;
      const float c = cos_sin[i], s = cos_sin[pairs + i], a = x[one], b = x[two];
      x[one] = a * c - b * s, x[two] = b * c + a * s;
    }
    __syncwarp();
  }
  __device__ void hadamard() const {
    for (int apart = 1; apart < n; apart *= 2) {
      for (int i = lane; i < n / 2; i += kWarp) {
        const int one = (i & ~(apart - 1)) * 2 + (i & (apart - 1));
        const float a = x[one], b = x[one + apart];
        x[one] = a + b, x[one + apart] = a - b;
      }
      __syncwarp();
    }
    const float scale = 1 / sqrtf(float(n));
    each([&](int d) { x[d] *= scale; });
    __syncwarp();
  }
  // Gives the scale.
  __device__ float quantise(F8E4M3* codes, Fp8ScaleRounding rounding) const {
    float most = 0;
    each([&](int d) { most = fmaxf(most, fabsf(x[d])); });
    const float scale = fp8_row_scale(warp_max(most), rounding), inverse = 1 / scale;
    each([&](int d) { codes[d] = from_float<F8E4M3>(x[d] * inverse); });
    return scale;
  }
  __device__ void store(void* to, DType type) const {
    each([&](int d) { put_element(to, d, x[d], type); });
  }
};

__device__ inline void prepare_query(const Prepare& p, const SharedRow& row, int64_t r) {
  const PreparedQueries& q = p.q;
  const RowPlace place(r, q.x.inner);
  row.load(row_start(q.x, place, q.x_type), q.x_type);
  row.rope(p.cos_sin_of(place.outer), p.rotary_dim / 2, p.interleaved);
  if (p.hadamard) row.hadamard();
  float scale = 1;
  if (q.out_type == DType::kF8E4M3) scale = row.quantise(q.out.row<F8E4M3>(place), p.rounding);
  else row.store(const_cast<void*>(row_start(q.out, place, q.out_type)), q.out_type);
  if (row.lane != 0) return;
  if (q.scale.present()) q.scale.put(place.outer, place.inner, scale);
  if (q.weights.present()) q.gate.put(place.outer, place.inner, q.weights.number(place.outer, place.inner) * q.gate_factor * scale);
}

__device__ inline void prepare_key(const Prepare& p, const SharedRow& row, int64_t t) {
  const PreparedKeys& k = p.k;
  const RowPlace place(t, 1);
  row.load(row_start(k.x, place, k.x_type), k.x_type);
  row.normalise(k, p.eps);
  row.rope(p.cos_sin_of(t), p.rotary_dim / 2, p.interleaved);
  if (p.hadamard) row.hadamard();
  if (k.out.data) row.store(const_cast<void*>(row_start(k.out, place, k.out_type)), k.out_type);
  if (!k.cache) return;
  const int64_t loc = k.loc.integer(t);
  if (!k.layout.holds(loc)) return;
  const float scale = row.quantise(k.codes(loc), p.rounding);
  if (row.lane == 0) *k.scale(loc) = scale;
}

static __global__ void __launch_bounds__(kAnyWidthWarps* kWarp) prepare_any_width_kernel(const __grid_constant__ Prepare p) {
  extern __shared__ float rows[];
  wait_for_previous_kernel();
  const int warp = int(threadIdx.x) / kWarp;
  const SharedRow row{rows + warp * p.dim, p.dim, int(threadIdx.x) % kWarp};
  const bool key = blockIdx.x < p.key_blocks;
  const int64_t r = (int64_t(blockIdx.x) - (key ? 0 : p.key_blocks)) * kAnyWidthWarps + warp;
  if (key && r < p.k.x.count) prepare_key(p, row, r);
  if (!key && r < p.q.x.count) prepare_query(p, row, r);
}

inline Status prepare_any_width(const Context& ctx, Prepare p) {
  const auto blocks = [](int64_t rows) { return (rows + kAnyWidthWarps - 1) / kAnyWidthWarps; };
  p.key_blocks = blocks(p.k.x.count);
  const LaunchShape shape{.grid = unsigned(p.key_blocks + blocks(p.q.x.count)),
                          .block = kAnyWidthWarps * kWarp,
                          .shared = kAnyWidthWarps * size_t(p.dim) * sizeof(float),
                          .dependent = true};
  return launch(ctx, prepare_any_width_kernel, shape, p);
}

}  // namespace sluice::cuda
