// Runs of elements in kernels of MLA's caches: loaded and stored at once, converted to fp8.
#pragma once

#include <type_traits>

#include "core/cuda/rows.cuh"

namespace sluice::cuda {

// N neighbouring elements; one access of up to 16 bytes where N is more than one.
template <class T, int N>
struct alignas(N == 1 ? alignof(T) : (sizeof(T) * N < 16 ? sizeof(T) * N : 16)) Pack {
  T x[N];
};

template <class F8>
inline constexpr __nv_fp8_interpretation_t kFp8Kind = std::is_same_v<F8, F8E4M3> ? __NV_E4M3 : __NV_E5M2;

// Two floats as fp8, `low` in the lower byte; both stop at the largest finite number.
template <class F8>
__device__ inline uint16_t pack_fp8(float low, float high) {
#if __CUDA_ARCH__ >= 890
  return __nv_cvt_float2_to_fp8x2(make_float2(low, high), __NV_SATFINITE, kFp8Kind<F8>);
#else
  return uint16_t(F8(low).bits | F8(high).bits << 8);  // CUDA's own conversion goes by way of fp64 here
#endif
}

// A run as fp8, times `by`.
template <class F8, class X>
__device__ inline uint2 to_fp8(const Pack<X, kRun>& from, float by) {
  uint32_t pair[kRun / 2];
#pragma unroll
  for (int i = 0; i < kRun / 2; ++i) pair[i] = pack_fp8<F8>(to_float(from.x[2 * i]) * by, to_float(from.x[2 * i + 1]) * by);
  return {pair[0] | pair[1] << 16, pair[2] | pair[3] << 16};
}
// One element.
template <class F8, class X>
__device__ inline F8 to_fp8(const Pack<X, 1>& from, float by) {
  F8 to;
  to.bits = uint8_t(pack_fp8<F8>(to_float(from.x[0]) * by, 0));
  return to;
}

}  // namespace sluice::cuda
