// The CPU's product by e4m3 weights in blocks. Lanes run along k: lane l of a block's sum takes its elements l, l + 16, ...; times
// the block's scale it is added to lane l of the row's sum, whose sixteen lanes meet in the tree of V::reduce_add.
//
// Four rows of w are taken at a time, a block of 128 columns after another: converted once, they are used for up to 64 tokens,
// whose sums rest in L1.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/fused_a_gemm/forms.h"

namespace sluice {

inline constexpr int kFusedAColumns = 4;  // rows of w in a tile; they share their scales
inline constexpr int kFusedATokens = 64;  // that share a conversion of w

// What one thread has of a tile while it goes along k.
struct FusedATile {
  alignas(64) float w[kFusedAColumns][kFusedABlock];                    // one block, widened
  alignas(64) float sums[kFusedATokens][kFusedAColumns][simd::kLanes];  // of the blocks so far
};

// Widens `depth` columns of rows n to n + 3 and prefetches the next rows; beyond the last row that one again, not stored.
template <class V>
SLUICE_INLINE void fused_a_widen(const Tensor& w, int64_t n, int64_t begin, int64_t depth, FusedATile& tile) {
  constexpr int64_t kLine = 64;  // bytes
  for (int c = 0; c < kFusedAColumns; ++c) {
    const F8E4M3* from = w.as<F8E4M3>() + std::min(n + c, w.shape[0] - 1) * w.stride[0] + begin;
    for (int64_t d = 0; d < depth; d += kLine)
      __builtin_prefetch(reinterpret_cast<const char*>(from) + kFusedAColumns * w.stride[0] + d);
    for (int64_t d = 0; d < depth; d += simd::kLanes) V::store(tile.w[c] + d, V::load_n(from + d, simd::lanes_at(d, depth)));
  }
}

// sums += scale * (x of R tokens times the block).
template <class V, int R>
SLUICE_INLINE void fused_a_add(const Bf16* x, int64_t x_row, const FusedATile& tile, int64_t depth, float scale,
                               float (*sums)[kFusedAColumns][simd::kLanes]) {
  constexpr int C = kFusedAColumns;
  typename V::F block[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) block[r][c] = V::zero();
  for (int64_t d = 0; d < depth; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, depth);
    const typename V::F w[C] = {V::load(tile.w[0] + d), V::load(tile.w[1] + d), V::load(tile.w[2] + d), V::load(tile.w[3] + d)};
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto row = V::load_n(x + r * x_row + d, lanes);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) block[r][c] = V::fma(row, w[c], block[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) V::store(sums[r][c], V::fma(block[r][c], V::set1(scale), V::load(sums[r][c])));
}

// The same of any number of tokens.
template <class V, int kRows>
void fused_a_add_block(const Bf16* x, int64_t x_row, int tokens, FusedATile& tile, int64_t depth, float scale) {
  int t = 0;
  for (; t + kRows <= tokens; t += kRows) fused_a_add<V, kRows>(x + t * x_row, x_row, tile, depth, scale, tile.sums + t);
  for (; t < tokens; ++t) fused_a_add<V, 1>(x + t * x_row, x_row, tile, depth, scale, tile.sums + t);
}

// Tokens t on, as many as a tile takes, times rows n to n + 3 of w, as many as there are.
template <class V, int kRows>
void fused_a_tile(const FusedAGemmArgs& a, int64_t t, int64_t n) {
  const int64_t K = a.x.shape[1], columns = std::min<int64_t>(kFusedAColumns, a.w.shape[0] - n);
  const int tokens = int(std::min<int64_t>(kFusedATokens, a.x.shape[0] - t));
  const Bf16* x = a.x.as<Bf16>() + t * a.x.stride[0];
  const float* scale = a.w_scale.as<float>() + n / kFusedABlock * a.w_scale.stride[0];
  FusedATile tile;
  std::fill_n(&tile.sums[0][0][0], tokens * kFusedAColumns * simd::kLanes, 0.0f);
  for (int64_t begin = 0; begin < K; begin += kFusedABlock) {
    const int64_t depth = std::min(kFusedABlock, K - begin);
    fused_a_widen<V>(a.w, n, begin, depth, tile);
    fused_a_add_block<V, kRows>(x + begin, a.x.stride[0], tokens, tile, depth, scale[begin / kFusedABlock]);
  }
  visit_float(a.y, [&]<class Y>(Y*) {
    for (int r = 0; r < tokens; ++r)
      for (int64_t c = 0; c < columns; ++c)
        a.y.as<Y>()[(t + r) * a.y.stride[0] + n + c] = Y(V::reduce_add(V::load(tile.sums[r][c])));
  });
}

template <class V, int kRows>
Status fused_a_body(Context& ctx, const FusedAGemmArgs& a) {
  constexpr int64_t kProducts = 1 << 16;  // worth waking a thread for
  const int64_t of_tile = std::max<int64_t>(1, a.x.numel() * kFusedAColumns);
  const int64_t tiles = (a.w.shape[0] + kFusedAColumns - 1) / kFusedAColumns;
  ctx.team->split(tiles, std::max<int64_t>(1, kProducts / of_tile), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = 0; t < a.x.shape[0]; t += kFusedATokens)
      for (int64_t i = begin; i < end; ++i) fused_a_tile<V, kRows>(a, t, i * kFusedAColumns);
  });
  return {};
}

}  // namespace sluice
