// A row of 128 elements, of which the first 64 are turned, in the registers of neighbouring threads of a warp.
#pragma once

#include <cuda_fp8.h>

#include "ops/hadamard/hadamard.cuh"
#include "ops/indexer_prepare/rows.cuh"

namespace sluice::cuda {

inline constexpr int kRotary = 64;
inline constexpr float kHadamardScale = 0.08838834764831845f;  // 128^-0.5

// n floats; wide: 16 bytes at a time.
template <bool kWide, int n>
__device__ inline void load_floats(const float* from, float* to) {
#pragma unroll
  for (int i = 0; i < n; i += 4) {
    if constexpr (kWide) {
      const float4 v = *reinterpret_cast<const float4*>(from + i);
      to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    } else {
#pragma unroll
      for (int j = i; j < i + 4; ++j) to[j] = from[j];
    }
  }
}

__device__ inline void turn_pair(float& one, float& two, float c, float s) {
  const float x = one, y = two;
  one = x * c - y * s, two = y * c + x * s;
}

// Run j of thread `lane` begins at element (j * kLanes + lane) * kRun. kWide: 16-byte accesses of numbers, 8-byte ones of codes.
template <bool kWide, int kLanes>
struct Row128 {
  static constexpr int kRuns = int(kIndexDim) / (kLanes * kRun);
  float x[kRuns][kRun];

  __device__ static int lane() { return int(threadIdx.x) % kLanes; }
  __device__ static int first(int j) { return (j * kLanes + lane()) * kRun; }

  template <class X>
  __device__ static Run<X> run_at(const X* row, int j) {
    if constexpr (kWide) return load_wide(row + first(j));
    else return load_run(row + first(j), kRun, false);
  }
  template <class X>
  __device__ void load(const X* row) {
    Run<X> run[kRuns];
#pragma unroll
    for (int j = 0; j < kRuns; ++j) run[j] = run_at(row, j);
#pragma unroll
    for (int j = 0; j < kRuns; ++j)
#pragma unroll
      for (int i = 0; i < kRun; ++i) x[j][i] = run[j][i];
  }
  template <class Y>
  __device__ void store(Y* row) const {
#pragma unroll
    for (int j = 0; j < kRuns; ++j) store_run(row + first(j), x[j], kRun, kWide);
  }
  // Codes of the row times `inverse`.
  __device__ void store_codes(F8E4M3* row, float inverse) const {
#pragma unroll
    for (int j = 0; j < kRuns; ++j) {
      uint32_t word[2] = {};
#pragma unroll
      for (int i = 0; i < kRun; i += 2) {
        const float2 two = make_float2(x[j][i] * inverse, x[j][i + 1] * inverse);
        word[i / 4] |= uint32_t(__nv_cvt_float2_to_fp8x2(two, __NV_SATFINITE, __NV_E4M3)) << (i % 4 * 8);
      }
      if constexpr (kWide) {
        *reinterpret_cast<uint2*>(row + first(j)) = make_uint2(word[0], word[1]);
      } else {
#pragma unroll
        for (int i = 0; i < kRun; ++i) row[first(j) + i].bits = uint8_t(word[i / 4] >> (i % 4 * 8));
      }
    }
  }

  __device__ float scale(Fp8ScaleRounding rounding) const {
    float most = 0;
#pragma unroll
    for (int j = 0; j < kRuns; ++j)
#pragma unroll
      for (int i = 0; i < kRun; ++i) most = fmaxf(most, fabsf(x[j][i]));
#pragma unroll
    for (int d = 1; d < kLanes; d *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
    return fp8_row_scale(most, rounding);
  }

  // Rope, then, where asked for, Hadamard.
  __device__ void turn(const float* cos_sin, bool interleaved, bool hadamard) {
    if constexpr (kLanes == 4) turn_within(cos_sin, interleaved);
    else turn_across(cos_sin, interleaved);
    if (!hadamard) return;
    hadamard_unscaled<kLanes>(x);
#pragma unroll
    for (int j = 0; j < kRuns; ++j)
#pragma unroll
      for (int i = 0; i < kRun; ++i) x[j][i] *= kHadamardScale;
  }

 private:
  // With four threads, pairs of either style are one thread's: (i, i + 32) in runs 0 and 1, or neighbours within one. Their cosines
  // are two fours of the table, 4 apart (half-split) or 16.
  __device__ void turn_within(const float* cos_sin, bool interleaved) {
    float cosine[2][4], sine[2][4];
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const float* from = cos_sin + (interleaved ? part * 16 + lane() * 4 : part * 4 + lane() * 8);
      load_floats<kWide, 4>(from, cosine[part]), load_floats<kWide, 4>(from + kRotary / 2, sine[part]);
    }
#pragma unroll
    for (int part = 0; part < 2; ++part)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (interleaved) turn_pair(x[part][2 * i], x[part][2 * i + 1], cosine[part][i], sine[part][i]);
        else turn_pair(x[0][part * 4 + i], x[1][part * 4 + i], cosine[part][i], sine[part][i]);
  }
  // With sixteen, a half-split pair is of two threads, 4 apart; threads 8 and up have nothing to turn, and take cosines as they
  // come.
  __device__ void turn_across(const float* cos_sin, bool interleaved) {
    static_assert(kLanes == 16);
    float cosine[kRun], sine[kRun];
    const bool turned = lane() < kRotary / kRun;
    if (interleaved) {
      const float* from = cos_sin + lane() % 8 * 4;
      load_floats<kWide, 4>(from, cosine), load_floats<kWide, 4>(from + kRotary / 2, sine);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (turned) turn_pair(x[0][2 * i], x[0][2 * i + 1], cosine[i], sine[i]);
    } else {
      const float* from = cos_sin + lane() % 4 * kRun;
      load_floats<kWide, kRun>(from, cosine), load_floats<kWide, kRun>(from + kRotary / 2, sine);
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        const float other = __shfl_xor_sync(0xffffffffu, x[0][i], 4);
        if (turned) x[0][i] = lane() < 4 ? x[0][i] * cosine[i] - other * sine[i] : x[0][i] * cosine[i] + other * sine[i];
      }
    }
  }
};

}  // namespace sluice::cuda
