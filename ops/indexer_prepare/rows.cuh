// A call as kernels see it, and single numbers of its tensors. Strides in elements.
#pragma once

#include <cmath>

#include "core/cuda/rows.cuh"
#include "ops/index_cache/index_cache.h"
#include "ops/indexer_prepare/forms.h"

namespace sluice::cuda {

// A tensor [T] or [T, H] of numbers whose type the kernel looks at.
struct NumbersView {
  void* data = nullptr;
  int64_t outer = 0, inner = 0;
  DType dtype = DType::kF32;

  NumbersView() = default;
  explicit NumbersView(const Tensor& t) : data(t.data), outer(t.stride[0]), inner(t.rank == 2 ? t.stride[1] : 0), dtype(t.dtype) {}

  __device__ bool present() const { return data != nullptr; }
  __device__ int64_t integer(int64_t t) const {
    return dtype == DType::kI64 ? static_cast<const int64_t*>(data)[t * outer] : static_cast<const int32_t*>(data)[t * outer];
  }
  __device__ float number(int64_t t, int64_t h) const {
    const int64_t at = t * outer + h * inner;
    return dtype == DType::kBF16 ? to_float(static_cast<const Bf16*>(data)[at]) : static_cast<const float*>(data)[at];
  }
  __device__ void put(int64_t t, int64_t h, float x) const { static_cast<float*>(data)[t * outer + h * inner] = x; }
};

struct PreparedQueries {
  RowsView x, out;
  DType x_type = DType::kF32, out_type = DType::kF32;
  NumbersView weights, scale, gate;
  float gate_factor = 0;
};

struct PreparedKeys {
  RowsView x, out;  // out.data may be null
  DType x_type = DType::kF32, out_type = DType::kF32;
  const void *norm_weight = nullptr, *norm_bias = nullptr;
  DType norm_type = DType::kF32;
  uint8_t* cache = nullptr;
  IndexCacheLayout layout;
  NumbersView loc;

  __device__ F8E4M3* codes(int64_t at) const { return reinterpret_cast<F8E4M3*>(cache + layout.codes(at)); }
  __device__ float* scale(int64_t at) const { return reinterpret_cast<float*>(cache + layout.scale(at)); }
};

struct Prepare {
  PreparedQueries q;
  PreparedKeys k;
  NumbersView positions;
  const float* cos_sin;
  int64_t table_rows, table_stride;
  int dim, rotary_dim;
  float eps;
  bool interleaved, hadamard;
  Fp8ScaleRounding rounding;
  int64_t key_blocks;  // blocks in front of those of queries

  __device__ const float* cos_sin_of(int64_t t) const {
    const int64_t position = positions.integer(t);
    return cos_sin + (position < 0 ? 0 : position < table_rows ? position : table_rows - 1) * table_stride;
  }
};

inline Prepare prepare_of(const IndexerPrepareArgs& a) {
  Prepare p{.positions = NumbersView(a.positions),
            .cos_sin = a.cos_sin.as<float>(),
            .table_rows = a.cos_sin.dim(0),
            .table_stride = a.cos_sin.stride[0],
            .dim = int(indexer_dim(a)),
            .rotary_dim = int(a.cos_sin.dim(1)),
            .eps = a.eps,
            .interleaved = a.style == RopeStyle::kInterleaved,
            .hadamard = a.hadamard,
            .rounding = a.scale_rounding,
            .key_blocks = 0};
  if (const IndexerQuery& q = a.q; q.x.present()) {
    p.q = {.x = RowsView(q.x),
           .out = RowsView(q.out),
           .x_type = q.x.dtype,
           .out_type = q.out.dtype,
           .gate_factor = indexer_gate_factor(a)};
    if (q.weights.present()) p.q.weights = NumbersView(q.weights), p.q.gate = NumbersView(q.gate);
    if (q.scale.present()) p.q.scale = NumbersView(q.scale);
  }
  if (const IndexerKey& k = a.k; k.x.present()) {
    p.k = {.x = RowsView(k.x),
           .x_type = k.x.dtype,
           .norm_weight = k.norm_weight.data,
           .norm_bias = k.norm_bias.data,
           .norm_type = k.norm_weight.dtype};
    if (k.out.present()) p.k.out = RowsView(k.out), p.k.out_type = k.out.dtype;
    if (k.cache.present()) p.k.cache = k.cache.as<uint8_t>(), p.k.layout = IndexCacheLayout(k.cache), p.k.loc = NumbersView(k.loc);
  }
  return p;
}

}  // namespace sluice::cuda
