// A warp takes four rows, so that enough loads are on their way; rows of up to 128 elements stay in its registers, longer ones are
// read again from the first-level cache. Bound by memory.
#include "core/cuda/launch.h"
#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"
#include "ops/gated_rmsnorm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kWarpsPerBlock = 8;
constexpr int kRowsPerWarp = 4;
constexpr int kWidth = 4;  // neighbours that a thread takes

template <class T>
struct alignas(kWidth * sizeof(T)) Neighbours {
  T x[kWidth];
};

// Whether every thread's neighbours can be read at once.
template <class T>
bool aligned(const RowsView& v) {
  return reinterpret_cast<uintptr_t>(v.data) % sizeof(Neighbours<T>) == 0 && v.length % kWidth == 0 &&
         v.outer_stride % kWidth == 0 && v.inner_stride % kWidth == 0;
}
bool aligned(const RowsView& v, DType type) { return type == DType::kBF16 ? aligned<Bf16>(v) : aligned<float>(v); }

// Elements d to d + 3 of a row of n, zeros behind its end. The same sums whether aligned or not: so are the bits.
template <bool kAligned, class T>
__device__ void load(const T* row, int64_t d, int64_t n, float (&y)[kWidth]) {
  Neighbours<T> v{};
  if constexpr (kAligned) {
    v = *reinterpret_cast<const Neighbours<T>*>(row + d);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      if (d + i < n) v.x[i] = row[d + i];
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) y[i] = to_float(v.x[i]);
}

template <bool kAligned, class T>
__device__ void store(T* row, int64_t d, int64_t n, const float (&x)[kWidth]) {
  Neighbours<T> v;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) v.x[i] = from_float<T>(x[i]);
  if constexpr (kAligned) {
    *reinterpret_cast<Neighbours<T>*>(row + d) = v;
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      if (d + i < n) row[d + i] = v.x[i];
  }
}

struct GatedNorm {
  RowsView x, z, y;
  const void* weight;
  bool weight_bf16, y_bf16;
  float eps;
  Gate gate;
  bool norm_before_gate;

  __device__ float gated(float z) const {
    constexpr float kLog2E = 1.44269504f;
    return (gate == Gate::kSilu ? z : 1.0f) * ptx::rcp_approx(1 + ptx::exp2_approx(-kLog2E * z));
  }
};

template <bool kAligned>
__device__ void load_weight(const GatedNorm& a, int64_t d, float (&w)[kWidth]) {
  if (a.weight_bf16) load<kAligned>(static_cast<const Bf16*>(a.weight), d, a.x.length, w);
  else load<kAligned>(static_cast<const float*>(a.weight), d, a.x.length, w);
}

// What is normed, in x, and the gates behind the norm, in z.
__device__ inline void apply_gate(const GatedNorm& a, float (&x)[kWidth], float (&z)[kWidth]) {
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float g = a.gated(z[i]);
    if (!a.norm_before_gate) x[i] *= g;
    z[i] = a.norm_before_gate ? g : 1.0f;
  }
}

template <bool kAligned, class X, class Z>
__global__ void __launch_bounds__(kWarpsPerBlock* kWarp, 3) gated_rmsnorm_kernel(const __grid_constant__ GatedNorm a) {
  cuda::wait_for_previous_kernel();
  const uint32_t first = (blockIdx.x * kWarpsPerBlock + threadIdx.y) * kRowsPerWarp, count = a.x.count, heads = a.x.inner;
  const int64_t n = a.x.length;
  if (first >= count) return;
  const auto row = [&]<class T>(const RowsView& v, int r) {  // those behind the last are the last
    const uint32_t i = min(first + r, count - 1);
    return static_cast<T*>(v.data) + i / heads * v.outer_stride + i % heads * v.inner_stride;
  };

  float x[kRowsPerWarp][kWidth], z[kRowsPerWarp][kWidth], weight[kWidth] = {}, sum[kRowsPerWarp] = {};
  const auto load_rows = [&](int64_t d) {
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      load<kAligned>(row.template operator()<const X>(a.x, r), d, n, x[r]);
      load<kAligned>(row.template operator()<const Z>(a.z, r), d, n, z[r]);
    }
    load_weight<kAligned>(a, d, weight);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) apply_gate(a, x[r], z[r]);
  };
  for (int64_t d = kWidth * threadIdx.x; d < n; d += kWidth * kWarp) {
    load_rows(d);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r)
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[r] = fmaf(x[r][i], x[r][i], sum[r]);
  }
#pragma unroll
  for (int r = 0; r < kRowsPerWarp; ++r) sum[r] = 1 / sqrtf(group_sum(sum[r]) / float(n) + a.eps);

  for (int64_t d = kWidth * threadIdx.x; d < n; d += kWidth * kWarp) {
    if (n > kWidth * kWarp) load_rows(d);
#pragma unroll
    for (int r = 0; r < kRowsPerWarp; ++r) {
      if (first + r >= count) break;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[r][i] = x[r][i] * sum[r] * weight[i] * z[r][i];
      if (a.y_bf16) store<kAligned>(row.template operator()<Bf16>(a.y, r), d, n, x[r]);
      else store<kAligned>(row.template operator()<float>(a.y, r), d, n, x[r]);
    }
  }
}

}  // namespace

Status gated_rmsnorm_cuda(Context& ctx, const GatedRmsnormArgs& a, std::byte*) {
  const GatedNorm args{.x = RowsView(a.x),
                       .z = RowsView(a.z),
                       .y = RowsView(a.y),
                       .weight = a.weight.data,
                       .weight_bf16 = a.weight.dtype == DType::kBF16,
                       .y_bf16 = a.y.dtype == DType::kBF16,
                       .eps = a.eps,
                       .gate = a.gate,
                       .norm_before_gate = a.norm_before_gate};
  const RowsView weight(a.weight.reshape({1, a.weight.dim(0)}));
  const bool vectors =
      aligned(args.x, a.x.dtype) && aligned(args.z, a.z.dtype) && aligned(args.y, a.y.dtype) && aligned(weight, a.weight.dtype);
  constexpr int kRows = kWarpsPerBlock * kRowsPerWarp;
  const LaunchShape shape{
      .grid = unsigned((args.x.count + kRows - 1) / kRows), .block = {kWarp, kWarpsPerBlock}, .dependent = true};
  return visit_float(a.x, [&]<class X>(X*) {
    return visit_float(a.z, [&]<class Z>(Z*) {
      return vectors ? launch(ctx, gated_rmsnorm_kernel<true, X, Z>, shape, args)
                     : launch(ctx, gated_rmsnorm_kernel<false, X, Z>, shape, args);
    });
  });
}

}  // namespace sluice
