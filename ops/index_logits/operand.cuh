// Matrix operands of the tensor cores out of rows as they lie in memory. A sum does not depend on the order in which pairs of
// elements are named, as long as queries and keys agree: of a row, thread c of a group of four takes the c-th quarter, a run of
// bytes, and step s of the sum takes the run's elements 4 s to 4 s + 3. So keys come from memory without shuffling.
#pragma once

#include "core/cuda/ptx.h"
#include "core/cuda/rows.cuh"

namespace sluice::logits {

// Four elements of a quarter: two registers of an operand.
struct Four {
  uint32_t low, high;
};

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
// Two codes, each in the upper byte of its half: the same bits, moved down, are an fp16 256 times smaller. NaN would be 480.
__device__ inline uint32_t widen_upper_bytes(uint32_t x) {
  const uint32_t small = (x & 0x80008000u) | (x & 0x7f007f00u) >> 1;
  const __half2 wide = __hmul2(*reinterpret_cast<const __half2*>(&small), __half2half2(__ushort_as_half(0x5c00)));  // 256
  uint32_t bits = *reinterpret_cast<const uint32_t*>(&wide);
  if ((x & 0x7f00u) == 0x7f00u) bits |= 0x7e00u;
  if ((x & 0x7f000000u) == 0x7f000000u) bits |= 0x7e000000u;
  return bits;
}
#endif

// e4m3 as fp16, which is exact.
__device__ inline Four widen(uint32_t codes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 890
  return {widen_upper_bytes(__byte_perm(codes, 0, 0x1404)), widen_upper_bytes(__byte_perm(codes, 0, 0x3424))};
#else
  return {cuda::ptx::widen_e4m3(uint16_t(codes)), cuda::ptx::widen_e4m3(uint16_t(codes >> 16))};
#endif
}

// D += A B of the operands' type.
__device__ inline void multiply(F8E4M3*, float (&d)[4], const uint32_t (&a)[4], Four b) {
  cuda::ptx::mma_m16n8k16_fp16(d, a, b.low, b.high);
}
__device__ inline void multiply(Bf16*, float (&d)[4], const uint32_t (&a)[4], Four b) {
  cuda::ptx::mma_m16n8k16_bf16(d, a, b.low, b.high);
}

// A piece of a quarter of a row, as much as is loaded at once: 16 bytes where the quarter is as long.
template <class X, int kDim>
struct Piece {
  static constexpr int kQuarter = kDim / 4 * int(sizeof(X)), kBytes = kQuarter < 16 ? kQuarter : 16;
  static constexpr int kPieces = kQuarter / kBytes, kSteps = kBytes / 4 / int(sizeof(X));

  uint32_t word[kBytes / 4] = {};

  __device__ void load(const void* from) {
    if constexpr (kBytes == 16) {
      const uint4 v = *static_cast<const uint4*>(from);
      word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
    } else {
      const uint2 v = *static_cast<const uint2*>(from);
      word[0] = v.x, word[1] = v.y;
    }
  }
  __device__ Four step(int s) const {
    if constexpr (sizeof(X) == 1) return widen(word[s]);
    else return {word[2 * s], word[2 * s + 1]};
  }
};

}  // namespace sluice::logits
