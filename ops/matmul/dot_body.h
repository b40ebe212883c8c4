// The dot-product form: lanes run along k, so that rows of x and of w are both read as they lie.
//
// The order of a sum, whoever computes it: K is cut into chunks of 1024 elements. In a chunk, lane l of one accumulator takes
// the elements l, l + 16, ... (bf16: pairs of elements), k ascending, and the sixteen lanes meet in the tree of V::reduce_add.
// Chunks are added in order. (A chunk of six rows of x is 12 or 24 KiB: it stays in L1 while w streams from L2, whatever K is.)
//
// A tile is D::kTileRows rows of x times 4 rows of w. At 6 x 4 there are 24 accumulators, and 24 dot instructions for 10 loads:
// enough for a core that does two of each a cycle. One row of x alone still has four chains.
//
//   x is packed once a call:  [row tile][step][kTileRows][vector], widened if D computes in fp32, zero beyond K
//   w, few rows of x:         read where it lies, each line once, lines further on prefetched
//   w, many rows of x:        an item copies its rows to a panel of half of L2, [column tile][step][4][vector], used for all tiles
//
// D is the arithmetic: Element (as packed), Operand (a vector of them), kStep, kTileRows, load, load_n, store, dot.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/matmul/forms.h"

namespace sluice {

// How far ahead of the rows in use w is prefetched.
inline constexpr int64_t kPrefetchRows = 8;

// Operands widened to fp32: any mix of fp32 and bf16.
template <class Vec, int kRows>
struct DotFp32 {
  using V = Vec;
  using Element = float;
  using Operand = typename V::F;
  static constexpr int kStep = simd::kLanes, kTileRows = kRows;
  template <class T>
  static SLUICE_INLINE Operand load(const T* p) {
    return V::load(p);
  }
  template <class T>
  static SLUICE_INLINE Operand load_n(const T* p, int n) {
    return V::load_n(p, n);
  }
  static SLUICE_INLINE void store(float* p, Operand v) { V::store(p, v); }
  static SLUICE_INLINE typename V::F dot(Operand x, Operand w, typename V::F sum) { return V::fma(x, w, sum); }
};

template <class D>
constexpr DotShape dot_shape() {
  constexpr int kElement = sizeof(typename D::Element), kL1Bytes = 24 << 10;  // half of L1 for x
  return {D::kTileRows, kL1Bytes / (D::kTileRows * kDotChunk * kElement), D::kStep, kElement};
}

// Four rows of w, in place or in a panel.
template <class W>
struct DotColumns {
  const W* row[kDotColumns];
  int64_t step;       // elements from one step to the next
  int64_t ahead = 0;  // bytes from a line to the one that is prefetched with it
};

// One chunk of a tile: sums[r][c] = (first) or += the products of `steps` whole steps and `tail` further elements.
// kStream: prefetch w as it goes.
template <class D, int R, bool kStream, class W>
__attribute__((noinline)) void dot_tile(const typename D::Element* x, DotColumns<W> w, int64_t steps, int tail, bool first,
                                        float* sums, int64_t pitch) {
  constexpr int C = kDotColumns, kPaddedRows = R + R % 2;  // sums are reduced two rows at a time
  typename D::V::F acc[kPaddedRows][C];
#pragma GCC unroll 8
  for (int r = 0; r < kPaddedRows; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = D::V::zero();

  const auto multiply = [&](const typename D::Operand(&columns)[C]) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto row = D::load(x + r * D::kStep);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = D::dot(row, columns[c], acc[r][c]);
    }
    x += D::kTileRows * D::kStep;
  };
  const W *w0 = w.row[0], *w1 = w.row[1], *w2 = w.row[2], *w3 = w.row[3];
  int64_t at = 0;  // one index for the four rows: four pointers that advance are four more instructions a step
  for (int64_t s = 0; s < steps; ++s, at += w.step) {
    if constexpr (kStream)
      for (const W* p : {w0, w1, w2, w3}) __builtin_prefetch(reinterpret_cast<const char*>(p + at) + w.ahead);
    multiply({D::load(w0 + at), D::load(w1 + at), D::load(w2 + at), D::load(w3 + at)});
  }
  if (tail) multiply({D::load_n(w0 + at, tail), D::load_n(w1 + at, tail), D::load_n(w2 + at, tail), D::load_n(w3 + at, tail)});

#pragma GCC unroll 8
  for (int r = 0; r < R; r += 2) {
    float pair[2 * C];
    const auto &a = acc[r], &b = acc[r + 1];
    D::V::reduce_add8({a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]}, pair);
    for (int i = 0; i < std::min(2, R - r); ++i)
      for (int c = 0; c < C; ++c) {
        float& sum = sums[(r + i) * pitch + c];
        sum = first ? pair[i * C + c] : sum + pair[i * C + c];
      }
  }
}

template <class D, bool kStream, class W>
SLUICE_INLINE void dot_tile(int rows, const typename D::Element* x, const DotColumns<W>& w, int64_t steps, int tail, bool first,
                            float* sums, int64_t pitch) {
  const auto call = [&]<int R>() {
    if constexpr (R <= D::kTileRows) dot_tile<D, R, kStream>(x, w, steps, tail, first, sums, pitch);
  };
  switch (rows) {
    case 1:
      return call.template operator()<1>();
    case 2:
      return call.template operator()<2>();
    case 3:
      return call.template operator()<3>();
    case 4:
      return call.template operator()<4>();
    case 5:
      return call.template operator()<5>();
    default:
      return call.template operator()<6>();
  }
}

// A call in progress. X and W are the stored types of x and w.
template <class D, class X, class W>
class DotMatmul {
 public:
  using Element = typename D::Element;

  DotMatmul(const MatmulArgs& a, const DotPlan& plan, std::byte* scratch)
      : a_(a), p_(plan), packed_x_(reinterpret_cast<Element*>(scratch)), per_thread_(scratch + plan.x_bytes) {}

  void run(ThreadTeam& team) {
    const int64_t items = p_.items_n * p_.items_m;
    if (p_.alone || p_.direct) {
      pack_x(0, p_.row_tiles);
    } else {
      team.split(p_.row_tiles, 1, [&](int64_t begin, int64_t end, int) { pack_x(begin, end); });
    }
    if (p_.alone) {
      for (int64_t i = 0; i < items; ++i) item(i, 0);
    } else {
      team.each(items, [&](int64_t i, int thread) { item(i, thread); });
    }
  }

 private:
  static constexpr int kRowTiles = dot_shape<D>().row_tiles, kChunkSteps = kDotChunk / D::kStep;

  int64_t k() const { return a_.x.shape[1]; }
  int tile_rows(int64_t tile) const { return int(std::min<int64_t>(D::kTileRows, a_.x.shape[0] - tile * D::kTileRows)); }
  const W* w_row(int64_t n) const { return a_.w.template as<W>() + n * a_.w.stride[0]; }
  const Element* x_tile(int64_t tile, int64_t step) const { return packed_x_ + (tile * p_.steps + step) * D::kTileRows * D::kStep; }

  // Row r of `rows` interleaved vectors at dst; beyond k zero.
  template <class T>
  void pack_row(const T* src, Element* dst, int rows) const {
    for (int64_t s = 0; s < p_.steps; ++s)
      D::store(dst + s * rows * D::kStep, D::load_n(src + s * D::kStep, int(std::min<int64_t>(D::kStep, k() - s * D::kStep))));
  }
  void pack_x(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t)
      for (int r = 0; r < tile_rows(t); ++r)
        pack_row(a_.x.template as<X>() + (t * D::kTileRows + r) * a_.x.stride[0],
                 packed_x_ + t * p_.steps * D::kTileRows * D::kStep + r * D::kStep, D::kTileRows);
  }

  void item(int64_t i, int thread) const {
    std::byte* mine = per_thread_ + thread * (p_.panel_bytes + p_.sums_bytes);
    float* sums = reinterpret_cast<float*>(mine);
    const int64_t n0 = i / p_.items_m * p_.item_columns, n1 = std::min(n0 + p_.item_columns, a_.w.shape[0]);
    const int64_t t0 = i % p_.items_m * p_.item_row_tiles, t1 = std::min(t0 + p_.item_row_tiles, p_.row_tiles);
    if (p_.direct) direct_item(n0, n1, sums);
    else panel_item(n0, n1, t0, t1, reinterpret_cast<Element*>(mine + p_.sums_bytes), sums);
  }

  // All rows of x times rows [n0, n1) of w: w comes from memory for the first tile of x and from L1 for the others.
  void direct_item(int64_t n0, int64_t n1, float* sums) const {
    const int64_t pitch = p_.item_columns, whole = k() / D::kStep;
    const int64_t ahead = kPrefetchRows * a_.w.stride[0] * int64_t(sizeof(W));
    for (int64_t n = n0; n < n1; n += kDotColumns) {
      const auto row = [&](int c) { return w_row(std::min(n + c, n1 - 1)); };  // beyond the end: the last row again, not stored
      for (int64_t s = 0; s < std::max<int64_t>(p_.steps, 1); s += kChunkSteps) {
        const int64_t steps = std::min<int64_t>(kChunkSteps, whole - s), e = s * D::kStep;
        const int tail = steps < kChunkSteps ? int(k() - whole * D::kStep) : 0;
        const DotColumns<W> columns{{row(0) + e, row(1) + e, row(2) + e, row(3) + e}, D::kStep, ahead};
        float* to = sums + (n - n0);
        dot_tile<D, true>(tile_rows(0), x_tile(0, s), columns, steps, tail, s == 0, to, pitch);
        for (int64_t t = 1; t < p_.row_tiles; ++t)
          dot_tile<D, false>(tile_rows(t), x_tile(t, s), columns, steps, tail, s == 0, to + t * D::kTileRows * pitch, pitch);
      }
    }
    store(0, p_.row_tiles, n0, n1, sums);
  }

  void panel_item(int64_t n0, int64_t n1, int64_t t0, int64_t t1, Element* panel, float* sums) const {
    const int64_t pitch = p_.item_columns, tile_elements = p_.steps * kDotColumns * D::kStep;
    for (int64_t n = n0; n < n1 || (n - n0) % kDotColumns != 0; ++n)
      pack_row(w_row(std::min(n, n1 - 1)), panel + (n - n0) / kDotColumns * tile_elements + (n - n0) % kDotColumns * D::kStep,
               kDotColumns);
    for (int64_t t = t0; t < t1; t += kRowTiles) {
      const int64_t last = std::min<int64_t>(t + kRowTiles, t1);
      for (int64_t s = 0; s < std::max<int64_t>(p_.steps, 1); s += kChunkSteps)
        for (int64_t n = n0; n < n1; n += kDotColumns) {
          const Element* w = panel + (n - n0) / kDotColumns * tile_elements + s * kDotColumns * D::kStep;
          const DotColumns<Element> columns{{w, w + D::kStep, w + 2 * D::kStep, w + 3 * D::kStep}, kDotColumns * D::kStep};
          for (int64_t u = t; u < last; ++u)
            dot_tile<D, false>(tile_rows(u), x_tile(u, s), columns, std::min<int64_t>(kChunkSteps, p_.steps - s), 0, s == 0,
                               sums + (u - t) * D::kTileRows * pitch + (n - n0), pitch);
        }
      store(t, last, n0, n1, sums);
    }
  }

  // The sums of row tiles [t0, t1) and columns [n0, n1) go to y, rounded if y is bf16.
  void store(int64_t t0, int64_t t1, int64_t n0, int64_t n1, const float* sums) const {
    const int64_t m1 = std::min(t1 * D::kTileRows, a_.x.shape[0]);
    visit_float(a_.y, [&]<class Y>(Y*) {
      for (int64_t m = t0 * D::kTileRows; m < m1; ++m, sums += p_.item_columns)
        for (int64_t n = n0; n < n1; n += simd::kLanes)
          D::V::store_n(a_.y.template as<Y>() + m * a_.y.stride[0] + n,
                        D::V::load_n(sums + (n - n0), int(std::min<int64_t>(simd::kLanes, n1 - n))),
                        int(std::min<int64_t>(simd::kLanes, n1 - n)));
    });
  }

  const MatmulArgs& a_;
  const DotPlan& p_;
  Element* packed_x_;
  std::byte* per_thread_;  // for each thread: sums, then its panel
};

template <class D, class X, class W>
Status matmul_dot(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  if (a.y.numel() == 0) return {};
  const DotPlan plan = plan_dot(a, dot_shape<D>(), ctx.team->size());
  DotMatmul<D, X, W>(a, plan, scratch).run(*ctx.team);
  return {};
}

// Any mix of fp32 and bf16 operands, in fp32 arithmetic.
template <class D>
Status matmul_dot_widened(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  return visit_float(
      a.x, [&]<class X>(X*) { return visit_float(a.w, [&]<class W>(W*) { return matmul_dot<D, X, W>(ctx, a, scratch); }); });
}

}  // namespace sluice
