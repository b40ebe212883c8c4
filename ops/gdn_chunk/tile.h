// The one matrix kernel of the gated delta operators: a tile of sums held in registers.
//
//   acc[m][lane] += left[m][j] * right[j][lane]      j ascending
//
// Every sum of products here is of this form: S^T k and S^T q (left = k and q rows, right = S), the dots k_i.k_j and q_i.k_j
// (right = transposed keys), corrections and outputs (left = decayed dots, right = u), and the closing (left = decayed keys,
// right = u). A lane's sum depends on its own left row and lane only, so tiles of any size give the same bits.
#pragma once

#include <cstdint>

#include "core/simd.h"

namespace sluice::gdn {

// How many sums a tile has: `kTokens` tokens, times two for k and q, times `kStrip` vectors of lanes; one token alone has `kWide`
// vectors. Twenty-four sums, four vectors of right and one of left fill the 32 registers of AVX-512 best; six, each in two
// registers, the 16 of AVX2.
template <class V>
struct TileOf {
  static constexpr int kTokens = V::kRegisters < 8 ? 1 : 3;
  static constexpr int kStrip = V::kRegisters < 16 ? 1 : V::kRegisters / 8;
  static constexpr int kWide = V::kRegisters / 4;
};

// `right` may be fp32 or bf16.
template <class V, int M, int C, class X>
SLUICE_INLINE void accumulate(typename V::F (&acc)[M][C], const float* left, int64_t left_stride, const X* right,
                              int64_t right_stride, int64_t n) {
  for (int64_t j = 0; j < n; ++j) {
    typename V::F x[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) x[c] = V::load(right + c * simd::kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const auto scalar = V::set1(left[m * left_stride + j]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) acc[m][c] = V::fma(scalar, x[c], acc[m][c]);
    }
    right += right_stride;
  }
}

template <int N>
struct Count {
  static constexpr int value = N;
};

// f(Count<C>, first vector) over all of `vectors`, at most Widest at a time.
template <int Widest, class F>
SLUICE_INLINE void for_strips(int64_t vectors, F&& f) {
  int64_t at = 0;
  for (; vectors - at >= Widest; at += Widest) f(Count<Widest>{}, at);
  if constexpr (Widest > 4)
    for (; vectors - at >= 4; at += 4) f(Count<4>{}, at);
  if constexpr (Widest > 3)
    if (vectors - at == 3) return f(Count<3>{}, at);
  if constexpr (Widest > 2)
    if (vectors - at == 2) return f(Count<2>{}, at);
  if constexpr (Widest > 1)
    if (vectors - at == 1) return f(Count<1>{}, at);
}

}  // namespace sluice::gdn
