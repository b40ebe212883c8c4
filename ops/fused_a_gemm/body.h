// The CPU's product by e4m3 weights in blocks. Lanes run along k: lane l of a block's sum takes its elements l, l + 16, ..., which
// is multiplied by the block's scale and added to lane l of the row's; the sixteen lanes meet in the tree of V::reduce_add.
//
// A tile is up to kRows tokens times 4 rows of w: a vector of w is converted once for the tokens, and w comes from memory for the
// first tile of tokens, from the caches for the others.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/fused_a_gemm/forms.h"

namespace sluice {

inline constexpr int kFusedAColumns = 4;  // rows of w in a tile; they share their scales

struct FusedATile {
  const Bf16* x;  // the first token's row
  int64_t x_row;
  const F8E4M3* w[kFusedAColumns];
  const float* scale;  // of the blocks along k
  int64_t depth;       // K
  int64_t ahead;       // elements of w from a line to the one that is prefetched with it
};

// sums[token][column]
template <class V, int R>
__attribute__((noinline)) void fused_a_tile(const FusedATile& tile, float (*sums)[kFusedAColumns]) {
  constexpr int C = kFusedAColumns;
  constexpr int64_t kLine = 64;  // bytes
  typename V::F total[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) total[r][c] = V::zero();
  for (int64_t begin = 0; begin < tile.depth; begin += kFusedABlock) {
    const int64_t end = std::min(begin + kFusedABlock, tile.depth);
    for (int64_t d = begin; d < end; d += kLine)
      for (int c = 0; c < C; ++c) __builtin_prefetch(reinterpret_cast<const char*>(tile.w[c]) + tile.ahead + d);
    typename V::F block[R][C];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) block[r][c] = V::zero();
    for (int64_t d = begin; d < end; d += simd::kLanes) {
      const int lanes = simd::lanes_at(d, end);
      typename V::F w[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) w[c] = V::load_n(tile.w[c] + d, lanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const auto x = V::load_n(tile.x + r * tile.x_row + d, lanes);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) block[r][c] = V::fma(x, w[c], block[r][c]);
      }
    }
    const auto scale = V::set1(tile.scale[begin / kFusedABlock]);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) total[r][c] = V::fma(block[r][c], scale, total[r][c]);
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) sums[r][c] = V::reduce_add(total[r][c]);
}

template <class V, int kRows>
void fused_a_tile(int rows, const FusedATile& tile, float (*sums)[kFusedAColumns]) {
  if constexpr (kRows > 1)
    if (rows < kRows) return fused_a_tile<V, kRows - 1>(rows, tile, sums);
  fused_a_tile<V, kRows>(tile, sums);
}

// All tokens times rows n to n + 3 of w, as many as there are.
template <class V, int kRows>
void fused_a_columns(const FusedAGemmArgs& a, int64_t n) {
  const int64_t T = a.x.shape[0], last = a.w.shape[0] - 1;
  FusedATile tile{.x = nullptr,
                  .x_row = a.x.stride[0],
                  .w = {},
                  .scale = a.w_scale.as<float>() + n / kFusedABlock * a.w_scale.stride[0],
                  .depth = a.x.shape[1],
                  .ahead = kFusedAColumns * a.w.stride[0]};
  for (int c = 0; c < kFusedAColumns; ++c)  // beyond the last row that one again, not stored
    tile.w[c] = a.w.as<F8E4M3>() + std::min(n + c, last) * a.w.stride[0];
  for (int64_t t = 0; t < T; t += kRows) {
    float sums[kRows][kFusedAColumns];
    const int rows = int(std::min<int64_t>(kRows, T - t));
    tile.x = a.x.as<Bf16>() + t * a.x.stride[0];
    fused_a_tile<V, kRows>(rows, tile, sums);
    visit_float(a.y, [&]<class Y>(Y*) {
      for (int r = 0; r < rows; ++r)
        for (int64_t c = 0; c < std::min<int64_t>(kFusedAColumns, last + 1 - n); ++c)
          a.y.as<Y>()[(t + r) * a.y.stride[0] + n + c] = Y(sums[r][c]);
    });
  }
}

template <class V, int kRows>
Status fused_a_body(Context& ctx, const FusedAGemmArgs& a) {
  constexpr int64_t kProducts = 1 << 16;  // worth waking a thread for
  const int64_t of_tile = std::max<int64_t>(1, a.x.numel() * kFusedAColumns);
  const int64_t tiles = (a.w.shape[0] + kFusedAColumns - 1) / kFusedAColumns;
  ctx.team->split(tiles, std::max<int64_t>(1, kProducts / of_tile), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) fused_a_columns<V, kRows>(a, i * kFusedAColumns);
  });
  return {};
}

}  // namespace sluice
