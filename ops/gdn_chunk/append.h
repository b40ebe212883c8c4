// Rows appended to the open chunk of one value head, and its closing: the arithmetic of all vector forms.
//
// k_i and q_i travel as rows 2i and 2i + 1 of one matrix, so that S, the keys and u are read once for both.
#pragma once

#include <algorithm>

#include "ops/gdn_chunk/rows.h"
#include "ops/gdn_chunk/scratch.h"
#include "ops/gdn_chunk/tile.h"

namespace sluice::gdn {

// Key rows into their columns of the state's [K][64]: squares of 16 by 16 where there are 16 rows.
template <class V>
void store_key_columns(const float* rows, int64_t K, int64_t first, int64_t count, float* keys) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t d = 0; d < K; d += kLanes) {
      typename V::F square[kLanes];
#pragma GCC unroll 16
      for (int r = 0; r < kLanes; ++r) square[r] = V::load(rows + 2 * (i + r) * K + d);
      V::transpose(square);
#pragma GCC unroll 16
      for (int c = 0; c < kLanes; ++c) V::store(keys + (d + c) * kChunk + first + i, square[c]);
    }
  for (; i < count; ++i)
    for (int64_t d = 0; d < K; ++d) keys[d * kChunk + first + i] = rows[2 * i * K + d];
}

// dots[m][j] = rows[m] . keys[:][j], lanes over j, for all columns up to each token's own. What a rejected draft left in columns
// behind is computed from and never read.
template <class V>
void dot_products(const float* rows, int64_t K, const float* keys, int64_t first, int64_t count, float* dots) {
  for_strips<TileOf<V>::kTokens>(count, [&]<int R>(Count<R>, int64_t i) {
    const int64_t vectors = (first + i + R + kLanes - 1) / kLanes;
    for_strips<TileOf<V>::kStrip>(vectors, [&]<int C>(Count<C>, int64_t vector) {
      typename V::F acc[2 * R][C] = {};
      accumulate<V>(acc, rows + 2 * i * K, K, keys + vector * kLanes, kChunk, K);
      for (int m = 0; m < 2 * R; ++m)
        for (int c = 0; c < C; ++c) V::store(dots + (2 * i + m) * kChunk + (vector + c) * kLanes, acc[m][c]);
    });
  });
}

// One value head's piece: rows [first, first + count) of its open chunk.
struct HeadRows {
  int64_t K, V, first, count;
  const float *s, *g;        // [K][V], [64]
  float* u;                  // [64][V]; the new rows hold v until they are replaced by u
  const float *rows, *dots;  // as Scratch
  float *coefficients, *decay, *o;
  const float* beta;
  float scale;
};

// decay_i = e^{G_i};  coefficients: -e^{G_i-G_j} k_i.k_j for j < i and e^{G_i-G_j} q_i.k_j for j <= i.
template <class V>
void decay_dots(const HeadRows& h) {
  for (int64_t i = 0; i < h.count; i += kLanes) {
    const int lanes = int(std::min<int64_t>(kLanes, h.count - i));
    V::store(h.decay + i, simd::exp<V>(V::load_n(h.g + h.first + i, lanes)));
  }
  for (int64_t i = 0; i < h.count; ++i) {
    const int64_t columns = h.first + i + 1;
    const auto g = V::set1(h.g[columns - 1]);
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int lanes = int(std::min<int64_t>(kLanes, columns - j));
      const auto decay = simd::exp<V>(V::sub(g, V::load_n(h.g + j, lanes)));
      const int64_t k = 2 * i * kChunk + j, q = k + kChunk;
      V::store(h.coefficients + k, V::mul(V::sub(V::zero(), decay), V::load(h.dots + k)));
      V::store(h.coefficients + q, V::mul(decay, V::load(h.dots + q)));
    }
  }
}

// R tokens from the piece's row i, C vectors from `column`: the sums over S, then over the rows before the tile, then, row by row,
// over those inside it.
template <class V, int R, int C>
void append_tile(const HeadRows& h, int64_t i, int64_t column) {
  typename V::F acc[2 * R][C] = {};
  accumulate<V>(acc, h.rows + 2 * i * h.K, h.K, h.s + column, h.V, h.K);
  float* u = h.u + (h.first + i) * h.V + column;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto decay = V::set1(h.decay[i + r]);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      acc[2 * r][c] = V::fnma(decay, acc[2 * r][c], V::load(u + r * h.V + c * kLanes));
      acc[2 * r + 1][c] = V::mul(decay, acc[2 * r + 1][c]);
    }
  }
  const float* coefficients = h.coefficients + 2 * i * kChunk;
  accumulate<V>(acc, coefficients, kChunk, h.u + column, h.V, h.first + i);
  coefficients += h.first + i;
  const auto scale = V::set1(h.scale);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto beta = V::set1(h.beta[i + r]);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      const auto row = V::mul(beta, acc[2 * r][c]);
      V::store(u + r * h.V + c * kLanes, row);
#pragma GCC unroll 16
      for (int m = 2 * r + 1; m < 2 * R; ++m) acc[m][c] = V::fma(V::set1(coefficients[m * kChunk + r]), row, acc[m][c]);
      V::store(h.o + (i + r) * h.V + column + c * kLanes, V::mul(scale, acc[2 * r + 1][c]));
    }
  }
}

// Strips of lanes outside, tokens inside: a strip of S stays in the first-level cache. A token alone takes wide strips, so that S
// is read in long runs.
template <class V>
void append_rows(const HeadRows& h) {
  if (h.count == 1)
    return for_strips<TileOf<V>::kWide>(h.V / kLanes,
                                        [&]<int C>(Count<C>, int64_t vector) { append_tile<V, 1, C>(h, 0, vector * kLanes); });
  for_strips<TileOf<V>::kStrip>(h.V / kLanes, [&]<int C>(Count<C>, int64_t vector) {
    for_strips<TileOf<V>::kTokens>(h.count, [&]<int R>(Count<R>, int64_t i) { append_tile<V, R, C>(h, i, vector * kLanes); });
  });
}

// S <- e^{G_n-1} S + sum_j e^{G_n-1 - G_j} k_j u_j^T over the n open rows.
template <class V>
void close_rows(int64_t n, int64_t K, int64_t VD, float* s, const float* keys, const float* u, const float* g, const Scratch& w) {
  if (n == 0) return;
  const auto last = V::set1(g[n - 1]);
  for (int64_t j = 0; j < n; j += kLanes) {
    const int lanes = int(std::min<int64_t>(kLanes, n - j));
    const auto decay = simd::exp<V>(V::sub(last, V::load_n(g + j, lanes)));
    for (int64_t d = 0; d < K; ++d) V::store(w.closing + d * kChunk + j, V::mul(decay, V::load(keys + d * kChunk + j)));
  }
  constexpr int kTile = 4;  // K is a multiple of 16; times 4 vectors with AVX-512: 16 sums
  const auto decay = simd::exp<V>(last);
  for_strips<TileOf<V>::kStrip>(VD / kLanes, [&]<int C>(Count<C>, int64_t vector) {
    for (int64_t d = 0; d < K; d += kTile) {
      float* at = s + d * VD + vector * kLanes;
      typename V::F acc[kTile][C];
      for (int m = 0; m < kTile; ++m)
        for (int c = 0; c < C; ++c) acc[m][c] = V::mul(decay, V::load(at + m * VD + c * kLanes));
      accumulate<V>(acc, w.closing + d * kChunk, kChunk, u + vector * kLanes, VD, n);
      for (int m = 0; m < kTile; ++m)
        for (int c = 0; c < C; ++c) V::store(at + m * VD + c * kLanes, acc[m][c]);
    }
  });
}

}  // namespace sluice::gdn
