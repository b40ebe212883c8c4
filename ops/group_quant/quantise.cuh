// Groups in eight bits, for kernels that end with quantisation. A warp has a chunk of a row, 512 elements: two runs of 8 to a
// thread, 256 apart. So a group is with 2 to 16 neighbouring threads, and the four of a packed word are with one warp.
#pragma once

#include <type_traits>

#include "core/cuda/rows.cuh"
#include "ops/group_quant/group_quant.h"
#include "ops/group_quant/scale.h"

namespace sluice::cuda {

inline constexpr int kHalves = 2, kHalf = kWarp * kRun, kChunkElements = kHalves * kHalf;
inline constexpr int kMostLanes = 16;  // threads of a group: 128 elements

// Where this thread's run of a chunk's half begins, in elements of the chunk.
__device__ inline int run_of_half(int half) { return half * kHalf + int(threadIdx.x) % kWarp * kRun; }

// Run<X>'s elements, of any X.
template <class X>
__device__ float element(const Run<X>& run, int i) {
  if constexpr (std::is_same_v<X, F16>) return __half2float(__ushort_as_half(uint16_t(run.word[i / 2] >> i % 2 * 16)));
  else return run[i];
}

template <class X>
__device__ Run<X> rounded(const float (&x)[kRun]) {
  Run<X> run;
#pragma unroll
  for (int i = 0; i < Run<X>::kWords; ++i) {
    if constexpr (sizeof(X) == 4) run.word[i] = __float_as_uint(x[i]);
    else if constexpr (std::is_same_v<X, F16>) run.word[i] = ptx::pack_fp16(x[2 * i], x[2 * i + 1]);
    else run.word[i] = ptx::pack_bf16(x[2 * i], x[2 * i + 1]);
  }
  return run;
}

// x / y as division rounds it, in three instructions where 1 / y is at hand: a quotient and, by its remainder, the step that it may
// be off (Markstein, "Computation of elementary functions on the IBM RISC System/6000", 1990). Numbers are normal and far from the
// largest, or x is not finite and the result NaN.
struct Divisor {
  float y = 0, reciprocal = 0;

  // Numbers over an infinite y are 0, and infinities NaN. The reciprocal is __frcp_rn's, whose branch is for numbers that a scale
  // never is: denormal ones, and those that have a denormal reciprocal.
  __device__ explicit Divisor(float by) {
    const bool infinite = isinf(by);
    const float near = ptx::rcp_approx(by);
    y = infinite ? 0 : by;
    reciprocal = infinite ? 0 : fmaf(near, fmaf(-by, near, 1.0f), near);
  }
  __device__ constexpr Divisor(float by, float its_reciprocal) : y(by), reciprocal(its_reciprocal) {}
  __device__ float divide(float x) const {
    const float q = x * reciprocal;
    return fmaf(fmaf(-q, y, x), reciprocal, q);
  }
};

// QuantisedGroups in memory: rows are numbered by an outer and an inner index, for tensors of rank 2 by the inner one alone.
struct GroupsView {
  uint8_t* q = nullptr;  // null: there is no such output
  void* scale = nullptr;
  int length = 0;  // elements of a row
  int64_t q_outer = 0, q_inner = 0, scale_outer = 0, scale_inner = 0, scale_column = 0;
  int lanes = 0, log_group = 0;  // neighbouring threads that have a group; log2 of its elements
  float eps = 0, most = 0, most_reciprocal = 0;
  bool int8 = false, ue8m0 = false, packed = false, wide = false;

  GroupsView() = default;
  explicit GroupsView(const QuantisedGroups& out)
      : q(static_cast<uint8_t*>(out.q.data)),
        scale(out.scale.data),
        lanes(out.group / kRun),
        log_group(std::countr_zero(unsigned(out.group))),
        eps(out.eps),
        int8(out.q.dtype == DType::kI8),
        ue8m0(out.ue8m0),
        packed(out.scale.dtype == DType::kI32) {
    const int row = out.q.rank - 2;
    const bool three = out.q.rank == 3;
    length = int(out.q.shape[row + 1]), most = int8 ? kMostInt8 : kMostE4M3, most_reciprocal = 1 / most;
    q_inner = out.q.stride[row], scale_inner = out.scale.stride[row], scale_column = out.scale.stride[row + 1];
    if (three) q_outer = out.q.stride[0], scale_outer = out.scale.stride[0];
    wide = reinterpret_cast<uintptr_t>(q) % kRun == 0 && (out.q.shape[row] <= 1 || q_inner % kRun == 0) &&
           (!three || out.q.shape[0] <= 1 || q_outer % kRun == 0);
  }

  __device__ float scale_of(float largest) const {
    const float above_eps = largest < eps ? eps : largest;  // NaN stays
    const float s = isinf(above_eps) ? above_eps : Divisor(most, most_reciprocal).divide(above_eps);
    return ue8m0 ? power_of_two_from(s) : s;
  }
};

// Four codes in a word.
__device__ inline uint32_t pack_codes(bool int8, float a, float b, float c, float d) {
  if (int8) {  // conversion gives 0 for NaN
    const uint32_t low = __byte_perm(__float2int_rn(a), __float2int_rn(b), 0x0040);
    return __byte_perm(low, __byte_perm(__float2int_rn(c), __float2int_rn(d), 0x0040), 0x5410);
  }
#if __CUDA_ARCH__ >= 890
  const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
  return low | uint32_t(__nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3)) << 16;
#else  // no such instruction
  return F8E4M3(a).bits | uint32_t(F8E4M3(b).bits) << 8 | uint32_t(F8E4M3(c).bits) << 16 | uint32_t(F8E4M3(d).bits) << 24;
#endif
}

__device__ inline void store_codes(uint8_t* to, uint2 codes, bool wide) {
  if (wide) {
    *reinterpret_cast<uint2*>(to) = codes;
    return;
  }
#pragma unroll
  for (int i = 0; i < kRun; ++i) to[i] = uint8_t((i < 4 ? codes.x : codes.y) >> i % 4 * 8);
}

// A chunk of a row.
struct Chunk {
  uint32_t outer, inner;  // the row; without one (here: false) nothing is written
  int begin;              // the chunk's first element
  bool here = true;
};

// Fp32 scales, from a group's first thread.
__device__ inline void put_scales(const GroupsView& out, const Chunk& chunk, const float (&scale)[kHalves]) {
  float* to = static_cast<float*>(out.scale) + chunk.outer * out.scale_outer + chunk.inner * out.scale_inner;
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int d = chunk.begin + run_of_half(half);
    if ((threadIdx.x & (out.lanes - 1)) == 0 && chunk.here && d < out.length)
      to[(d >> out.log_group) * out.scale_column] = scale[half];
  }
}

// Words of exponents, gathered from a word's threads, of which the first writes. All threads of the warp come here together.
__device__ inline void put_packed_scales(const GroupsView& out, const Chunk& chunk, const float (&scale)[kHalves]) {
  const int lane = int(threadIdx.x) % kWarp;
  const bool over_halves = out.lanes * kGroupsOfWord > kWarp;  // a word's groups are in both
  const int of_word = over_halves ? kWarp : out.lanes * kGroupsOfWord;
  uint32_t word[kHalves];
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int d = chunk.begin + run_of_half(half);
    word[half] = d < out.length ? ue8m0_of(scale[half]) << (d >> out.log_group) % kGroupsOfWord * 8 : 0;
    for (int apart = out.lanes; apart < of_word; apart *= 2) word[half] |= __shfl_xor_sync(0xffffffffu, word[half], apart);
  }
  if (over_halves) word[0] |= word[1];
  auto* to = static_cast<uint32_t*>(out.scale) + chunk.outer * out.scale_outer + chunk.inner * out.scale_inner;
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const int begin = chunk.begin + run_of_half(half);
    if ((lane & (of_word - 1)) == 0 && chunk.here && begin < out.length && !(over_halves && half > 0))
      to[(begin >> out.log_group) / kGroupsOfWord * out.scale_column] = word[half];
  }
}

// Quantises a chunk; value(half, i) is an element, 0 behind the row's end. All threads of the warp come here together.
template <bool kWide, class Value>
__device__ void quantise_chunk(const GroupsView& out, const Chunk& chunk, Value&& value) {
  float largest[kHalves], scale[kHalves];
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    largest[half] = fabsf(value(half, 0));
#pragma unroll
    for (int i = 1; i < kRun; ++i) largest[half] = ptx::max_nan(largest[half], fabsf(value(half, i)));
  }
#pragma unroll
  for (int apart = kMostLanes / 2; apart > 0; apart /= 2)
#pragma unroll
    for (int half = 0; half < kHalves; ++half)  // a thread of a smaller group meets itself
      largest[half] = ptx::max_nan(largest[half], __shfl_xor_sync(0xffffffffu, largest[half], apart & (out.lanes - 1)));
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    scale[half] = out.scale_of(largest[half]);
    const int d = chunk.begin + run_of_half(half);
    if (!chunk.here || d >= out.length) continue;
    const Divisor by(scale[half]);
    const auto four = [&](int i) {
      return pack_codes(out.int8, by.divide(value(half, i)), by.divide(value(half, i + 1)), by.divide(value(half, i + 2)),
                        by.divide(value(half, i + 3)));
    };
    store_codes(out.q + chunk.outer * out.q_outer + chunk.inner * out.q_inner + d, make_uint2(four(0), four(4)), kWide);
  }
  if (out.packed) put_packed_scales(out, chunk, scale);
  else put_scales(out, chunk, scale);
}

}  // namespace sluice::cuda
