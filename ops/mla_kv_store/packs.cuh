// Kernels whose warps have a row of MLA each: runs of elements that are loaded and stored at once, fp8, the shape of the launch.
#pragma once

#include <algorithm>
#include <climits>
#include <type_traits>

#include "core/cuda/launch.h"
#include "core/cuda/rows.cuh"

namespace sluice::cuda {

// N neighbouring elements of a row, an access of up to 16 bytes each; kept as words until they are used, which is half of the
// registers.
template <class X, int N>
struct alignas(sizeof(X) * N < 16 ? sizeof(X) * N : 16) Pack {
  uint32_t word[N * sizeof(X) / 4];

  __device__ float operator[](int i) const {
    if constexpr (sizeof(X) == 4) return __uint_as_float(word[i]);
    else if constexpr (std::is_same_v<X, Bf16>) return __uint_as_float(i % 2 ? word[i / 2] & 0xffff0000u : word[i / 2] << 16);
    else return __half2float(__ushort_as_half(uint16_t(word[i / 2] >> (i % 2 * 16))));
  }
  // Of a pack that was zero.
  __device__ void set(int i, X x) {
    if constexpr (sizeof(X) == 4) word[i] = __float_as_uint(x);
    else word[i / 2] |= uint32_t(x.bits) << (i % 2 * 16);
  }
};
template <class X>
struct Pack<X, 1> {
  X x;
  __device__ float operator[](int) const { return to_float(x); }
};

// A pointer that the compiler cannot follow to the call's parameters, for a store to memory and nothing else.
template <class T>
__device__ inline T* global(T* p) {
  __builtin_assume(__isGlobal(p));
  return p;
}

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
  for (int i = 0; i < kRun / 2; ++i) pair[i] = pack_fp8<F8>(from[2 * i] * by, from[2 * i + 1] * by);
  return {pair[0] | pair[1] << 16, pair[2] | pair[3] << 16};
}
// One element.
template <class F8, class X>
__device__ inline F8 to_fp8(const Pack<X, 1>& from, float by) {
  F8 to;
  to.bits = uint8_t(pack_fp8<F8>(from[0] * by, 0));
  return to;
}

inline constexpr int kMostRowWarps = 8;  // of a block

// A warp for each row; few rows go to many multiprocessors.
inline LaunchShape row_warps(const Context& ctx, int64_t rows) {
  int warps = 1;
  while (warps < kMostRowWarps && rows > int64_t(warps) * ctx.gpu->sms) warps *= 2;
  const int64_t blocks = std::min<int64_t>((rows + warps - 1) / warps, INT_MAX);
  return {.grid = unsigned(blocks), .block = unsigned(warps * kWarp), .dependent = true};
}

}  // namespace sluice::cuda
