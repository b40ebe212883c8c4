// A warp a row, read twice: the second time from the first-level cache. Bound by memory; four elements a thread where rows are aligned.
#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"
#include "ops/gated_rmsnorm/forms.h"

namespace sluice {
namespace {

using namespace cuda;

constexpr int kWarpsPerBlock = 8;

constexpr int kWidth = 4;  // neighbours that a thread takes

struct FloatRows : RowsView {
  bool bf16 = false;

  FloatRows() = default;
  explicit FloatRows(const Tensor& t) : RowsView(t), bf16(t.dtype == DType::kBF16) {}

  // Whether every thread's elements can be read at once.
  bool aligned() const {
    const int64_t bytes = kWidth * (bf16 ? 2 : 4);
    return reinterpret_cast<uintptr_t>(data) % bytes == 0 && length % kWidth == 0 && outer_stride % kWidth == 0 && inner_stride % kWidth == 0;
  }
};

template <class T>
struct alignas(kWidth * sizeof(T)) Neighbours {
  T x[kWidth];
};

// Elements d to d + 3 of row r, zeros behind its end. The same sums whether aligned or not: the bits do not depend on it.
template <bool kAligned, class T>
__device__ void load_as(const FloatRows& rows, int64_t r, int64_t d, float (&y)[kWidth]) {
  const T* p = rows.row<T>(r) + d;
  Neighbours<T> v{};
  if constexpr (kAligned) {
    v = *reinterpret_cast<const Neighbours<T>*>(p);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      if (d + i < rows.length) v.x[i] = p[i];
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) y[i] = to_float(v.x[i]);
}

template <bool kAligned>
__device__ void load(const FloatRows& rows, int64_t r, int64_t d, float (&y)[kWidth]) {
  if (rows.bf16) load_as<kAligned, Bf16>(rows, r, d, y);
  else load_as<kAligned, float>(rows, r, d, y);
}

template <bool kAligned, class T>
__device__ void store_as(const FloatRows& rows, int64_t r, int64_t d, const float (&x)[kWidth]) {
  T* p = rows.row<T>(r) + d;
  Neighbours<T> v;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) v.x[i] = from_float<T>(x[i]);
  if constexpr (kAligned) {
    *reinterpret_cast<Neighbours<T>*>(p) = v;
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i)
      if (d + i < rows.length) p[i] = v.x[i];
  }
}

struct GatedNorm {
  FloatRows x, z, weight, y;
  float eps;
  Gate gate;
  bool norm_before_gate;

  __device__ float gated(float z) const { return (gate == Gate::kSilu ? z : 1.0f) / (1 + expf(-z)); }

  // What is normed of elements d to d + 3 of row r, and the gates behind the norm.
  template <bool kAligned>
  __device__ void load_gated(int64_t r, int64_t d, float (&s)[kWidth], float (&after)[kWidth]) const {
    float gates[kWidth];
    load<kAligned>(x, r, d, s), load<kAligned>(z, r, d, gates);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float g = gated(gates[i]);
      if (!norm_before_gate) s[i] *= g;
      after[i] = norm_before_gate ? g : 1.0f;
    }
  }
};

template <bool kAligned>
__global__ void __launch_bounds__(kWarpsPerBlock* kWarp) gated_rmsnorm_kernel(const __grid_constant__ GatedNorm a) {
  cuda::wait_for_previous_kernel();
  cuda::let_next_kernel_start();
  const int64_t r = int64_t(blockIdx.x) * kWarpsPerBlock + threadIdx.y;
  if (r >= a.x.count) return;
  float s[kWidth], after[kWidth], weight[kWidth], sum = 0;
  for (int64_t d = kWidth * threadIdx.x; d < a.x.length; d += kWidth * kWarp) {
    a.load_gated<kAligned>(r, d, s, after);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum = fmaf(s[i], s[i], sum);
  }
  const float scale = 1 / sqrtf(group_sum(sum) / float(a.x.length) + a.eps);
  for (int64_t d = kWidth * threadIdx.x; d < a.x.length; d += kWidth * kWarp) {
    a.load_gated<kAligned>(r, d, s, after), load<kAligned>(a.weight, 0, d, weight);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) s[i] = s[i] * scale * weight[i] * after[i];
    if (a.y.bf16) store_as<kAligned, Bf16>(a.y, r, d, s);
    else store_as<kAligned, float>(a.y, r, d, s);
  }
}

}  // namespace

Status gated_rmsnorm_cuda(Context& ctx, const GatedRmsnormArgs& a, std::byte*) {
  const Tensor weight = a.weight.reshape({1, a.weight.dim(0)});
  const GatedNorm args{.x = FloatRows(a.x), .z = FloatRows(a.z), .weight = FloatRows(weight), .y = FloatRows(a.y),
                       .eps = a.eps, .gate = a.gate, .norm_before_gate = a.norm_before_gate};
  const bool aligned = args.x.aligned() && args.z.aligned() && args.weight.aligned() && args.y.aligned();
  const LaunchShape shape{.grid = unsigned((args.x.count + kWarpsPerBlock - 1) / kWarpsPerBlock), .block = {kWarp, kWarpsPerBlock},
                          .dependent = true};
  return aligned ? launch(ctx, gated_rmsnorm_kernel<true>, shape, args) : launch(ctx, gated_rmsnorm_kernel<false>, shape, args);
}

}  // namespace sluice
