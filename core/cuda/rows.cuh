// Rows of tensors in kernels: addresses, conversions, runs of elements, sums over a warp, the sequence that a row belongs to.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <bit>
#include <cstdint>

#include "core/alignment.h"
#include "core/cuda/ptx.h"
#include "core/rows.h"
#include "core/tensor.h"

namespace sluice::cuda {

inline constexpr int kWarp = 32;  // threads

// a / b of numbers that are not negative.
__device__ inline int64_t divide(int64_t a, int64_t b) {
  const bool small = ((a | b) >> 32) == 0;  // a division of 32 bits is a fraction of one of 64
  return small ? uint32_t(a) / uint32_t(b) : a / b;
}

// n / d for 0 <= n < 2^31 as a product and a shift: the host knows d, 1 <= d < 2^31 (Granlund and Montgomery, "Division by
// invariant integers using multiplication", 1994). A division takes twenty instructions.
class Divider {
 public:
  explicit Divider(int64_t d)
      : shift_(31 + std::bit_width(uint64_t(d) - 1)),
        factor_(uint32_t(((uint64_t(1) << shift_) + uint64_t(d) - 1) / uint64_t(d))) {}
  __device__ uint32_t divide(uint32_t n) const { return uint32_t(uint64_t(n) * factor_ >> shift_); }

 private:
  int shift_;
  uint32_t factor_;
};

// Where row r of a tensor [T, H, D] is.
struct RowPlace {
  int64_t outer, inner;

  __device__ RowPlace(int64_t r, int64_t inner_count) : outer(divide(r, inner_count)), inner(r - outer * inner_count) {}
};

// Rows of a tensor [R, D] or [T, H, D]; strides in elements.
struct RowsView {
  void* data = nullptr;
  int64_t count = 0, length = 0;
  int64_t inner = 1, outer_stride = 0, inner_stride = 0;

  RowsView() = default;
  explicit RowsView(const Tensor& t)
      : data(t.data),
        length(t.shape[t.rank - 1]),
        inner(t.rank == 3 ? t.shape[1] : 1),
        outer_stride(t.stride[0]),
        inner_stride(t.rank == 3 ? t.stride[1] : 0) {
    count = t.shape[0] * inner;
  }

  template <class T>
  __device__ T* row(int64_t r) const {
    return static_cast<T*>(data) + (r / inner) * outer_stride + (r % inner) * inner_stride;
  }
  template <class T>
  __device__ T* row(const RowPlace& place) const {
    return static_cast<T*>(data) + place.outer * outer_stride + place.inner * inner_stride;
  }
};

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(Bf16 x) { return __uint_as_float(uint32_t(x.bits) << 16); }
__device__ inline float to_float(F16 x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ inline float to_float(F8E4M3 x) { return __half2float(__half(__nv_cvt_fp8_to_halfraw(x.bits, __NV_E4M3))); }
__device__ inline float to_float(F8E5M2 x) { return __half2float(__ushort_as_half(uint16_t(x.bits << 8))); }

// Two neighbours, the first in the lower byte.
__device__ inline float2 to_float_pair_e4m3(uint16_t x) {
  return __half22float2(__half2(__nv_cvt_fp8x2_to_halfraw2(x, __NV_E4M3)));
}

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
template <>
__device__ inline Bf16 from_float<Bf16>(float x) {
  Bf16 y;
  y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
  return y;
}
template <>
__device__ inline F16 from_float<F16>(float x) {
  return std::bit_cast<F16>(__half_as_ushort(__float2half_rn(x)));
}
// Stops at 448, as on the CPU; NaN stays NaN.
template <>
__device__ inline F8E4M3 from_float<F8E4M3>(float x) {
  F8E4M3 y;
  y.bits = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
  return y;
}

// The sum over a group of `Lanes` neighbouring threads of a warp, in every one of them; one fixed tree.
template <int Lanes = kWarp>
__device__ inline float group_sum(float x) {
#pragma unroll
  for (int d = Lanes / 2; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d, Lanes);
  return x;
}

// A run: neighbouring elements of a row that one thread reads, computes and writes; 16 bytes of bf16.
inline constexpr int kRun = 8;

template <class X>
struct Run {
  static constexpr int kWords = kRun * int(sizeof(X)) / 4;
  uint32_t word[kWords] = {};

  __device__ float operator[](int i) const {
    if constexpr (sizeof(X) == 4) return __uint_as_float(word[i]);
    else return __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
  }
  __device__ void set(int i, X x) {
    if constexpr (sizeof(X) == 4) word[i] = __float_as_uint(x);
    else word[i / 2] |= uint32_t(x.bits) << (i % 2 * 16);
  }
};

// Whether runs of a tensor's rows that begin at multiples of kRun may be accessed 16 bytes at a time. An absent tensor's may.
inline bool wide_runs(const Tensor& t) { return rows_aligned(t, 16); }

template <class X>
__device__ inline Run<X> load_wide(const X* from) {
  Run<X> run;
#pragma unroll
  for (int i = 0; i < Run<X>::kWords; i += 4) {
    const uint4 v = *reinterpret_cast<const uint4*>(reinterpret_cast<const uint32_t*>(from) + i);
    run.word[i] = v.x, run.word[i + 1] = v.y, run.word[i + 2] = v.z, run.word[i + 3] = v.w;
  }
  return run;
}

// The first `n` elements of a run, zeros behind them; all zeros where `from` is null. wide: 16-byte accesses, n is 0 or kRun, and
// the stride 1.
template <class X>
__device__ inline Run<X> load_run(const X* from, int n, bool wide, int64_t stride = 1) {
  Run<X> run;
  if (!from || n <= 0) return run;
  if (wide) return load_wide(from);
#pragma unroll
  for (int i = 0; i < kRun; ++i)
    if (i < n) run.set(i, from[i * stride]);
  return run;
}

template <class Y>
__device__ inline void store_wide(Y* to, const Run<Y>& run) {
#pragma unroll
  for (int i = 0; i < Run<Y>::kWords; i += 4)
    ptx::store_global(reinterpret_cast<uint4*>(to) + i / 4,
                      make_uint4(run.word[i], run.word[i + 1], run.word[i + 2], run.word[i + 3]));
}

template <class Y>
__device__ inline void store_wide(Y* to, const float (&x)[kRun]) {
  Run<Y> run;
#pragma unroll
  for (int i = 0; i < Run<Y>::kWords; ++i) {
    if constexpr (sizeof(Y) == 4) run.word[i] = __float_as_uint(x[i]);
    else run.word[i] = ptx::pack_bf16(x[2 * i], x[2 * i + 1]);
  }
  store_wide(to, run);
}

// Writes the first `n` elements of a run; as load_run.
template <class Y>
__device__ inline void store_run(Y* to, const float (&x)[kRun], int n, bool wide, int64_t stride = 1) {
  if (wide) {
    if (n > 0) store_wide(to, x);
    return;
  }
#pragma unroll
  for (int i = 0; i < kRun; ++i)
    if (i < n) to[i * stride] = from_float<Y>(x[i]);
}

// The last sequence that begins at or before `row`, or 0; `Lanes` neighbouring threads search for their row together, and every
// thread of the warp takes part. A row at or behind cu_seqlens[sequences] gets the last sequence.
template <int Lanes>
__device__ inline int sequence_of(const int32_t* cu_seqlens, int sequences, int64_t row) {
  const int lane = threadIdx.x % Lanes, before_group = threadIdx.x % kWarp - lane;
  constexpr uint32_t kGroup = Lanes == kWarp ? 0xffffffffu : (1u << Lanes) - 1;
  int low = 0;
  for (int n = sequences; n > 1;) {
    const int step = (n + Lanes - 1) / Lanes, probe = low + lane * step;
    const bool begun = probe < sequences && cu_seqlens[probe] <= row;
    const uint32_t votes = __ballot_sync(0xffffffffu, begun) >> before_group & kGroup;
    low += max(__popc(votes) - 1, 0) * step;
    n = step;
  }
  return low;
}

}  // namespace sluice::cuda
