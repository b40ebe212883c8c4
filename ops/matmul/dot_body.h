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
//   w, one tile of x:         read where it lies, row after row: the order in which memory gives most
//   w, several tiles of x:    an item is as many rows of w as L2 holds beside the next item's, which are prefetched meanwhile,
//                             again in the order of memory. They are used where they lie, or, if D widens them and there are
//                             many tiles, from a panel in L2, [column tile][step][4][vector]
//
// D is the arithmetic: Element (as packed), Operand (a vector of them), kStep, kTileRows, load, load_n, store, dot.
#pragma once

#include <algorithm>

#include "base/checked.h"
#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd.h"
#include "core/with_count.h"
#include "ops/matmul/forms.h"

namespace sluice {

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
  constexpr int kElement = sizeof(typename D::Element), kL1Bytes = 12 << 10;  // for x, a third of the smallest L1
  return {D::kTileRows, std::max(1, kL1Bytes / (D::kTileRows * kDotChunk * kElement)), D::kStep, kElement};
}

// How far ahead of a row in use w is brought into L2, in the order of memory.
inline constexpr int64_t kBytesAhead = 8 << 10;

// Memory that is wanted soon, in L2: some pairs of cache lines with every tile.
struct DotAhead {
  static constexpr int64_t kPair = 2 * kCacheLine;
  const std::byte* next = nullptr;
  int64_t pairs = 0;

  // `bytes` from `first` on in the course of so many tiles.
  static DotAhead of(const void* first, int64_t bytes, int64_t tiles) {
    return {static_cast<const std::byte*>(first), ceil_div(bytes, kPair * tiles)};
  }
  DotAhead after(int64_t tiles) const { return {next + tiles * pairs * kPair, pairs}; }
  SLUICE_INLINE void fetch() {
    __builtin_prefetch(next, 0, 2);
    __builtin_prefetch(next + kCacheLine, 0, 2);
    next += kPair;
  }
};

// One chunk of a row tile of x times the rows of w in `tiles` tiles, in place or from a panel: a strip. What surrounds a tile's
// products, a call not least, costs as much as a tenth of them.
template <class Element, class W>
struct DotStrip {
  const Element* x;
  const W* w;
  int64_t w_pitch, w_step, w_tile;  // elements from a row to the next, from a step to the next, from a tile to the next
  int64_t tiles, steps;             // whole steps
  int tail;                         // elements of one that is not
  bool first;                       // chunk: the sums are set, not added to
  float* sums;
  int64_t pitch;  // of sums
  DotAhead w_ahead, x_ahead;
};

// sums = (first) or += what one chunk of a row of x comes to with C rows of w.
template <int C>
SLUICE_INLINE void add_sums(const float* out, bool first, float* sums) {
  using Sums = std::conditional_t<C == 1, float, simd::Plain::Quad>;
  static_assert(sizeof(Sums) == C * sizeof(float));
  Sums sum, now;
  std::memcpy(&now, out, sizeof now);
  if (!first) std::memcpy(&sum, sums, sizeof sum), now = sum + now;
  std::memcpy(sums, &now, sizeof now);
}

// The lanes of a tile's accumulators meet.
template <class V, int R, int C>
SLUICE_INLINE void add_tile(const typename V::F (&acc)[R][C], bool first, float* sums, int64_t pitch) {
  constexpr int kOutputs = R * C;
  if constexpr (kOutputs == 1) {
    const float out = V::reduce_add(acc[0][0]);
    return add_sums<C>(&out, first, sums);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; i += 8) {
    typename V::F eight[8];
    alignas(32) float out[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) eight[j] = i + j < kOutputs ? acc[(i + j) / C % R][(i + j) % C] : V::zero();
    V::reduce_add8(eight, out);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j += C)
      if (i + j < kOutputs) add_sums<C>(out + j, first, sums + (i + j) / C * pitch);
  }
}

// A tile of R rows of x and C of w: sums[r][c] = or += its products.
template <class D, int R, int C, class W>
SLUICE_INLINE void dot_tile(const DotStrip<typename D::Element, W>& strip, const W* w, float* sums, DotAhead w_ahead,
                            DotAhead x_ahead) {
  typename D::V::F acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = D::V::zero();

  const auto* x = strip.x;
  int64_t at = 0;  // one index for all rows: pointers that advance are as many more instructions a step
  const auto multiply = [&](auto&& load) __attribute__((always_inline)) {
    typename D::Operand columns[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) columns[c] = load(w + c * strip.w_pitch + at);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto row = D::load(x + r * D::kStep);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = D::dot(row, columns[c], acc[r][c]);
    }
    x += D::kTileRows * D::kStep;
  };
  const auto steps = [&](int64_t count, auto&& prefetch) __attribute__((always_inline)) {
    for (int64_t s = 0; s < count; ++s, at += strip.w_step) {
      prefetch();
      multiply([](const W* p) __attribute__((always_inline)) { return D::load(p); });
    }
  };
  if constexpr (C == 1) {
    steps(
        strip.steps, [&]() __attribute__((always_inline)) {
          __builtin_prefetch(reinterpret_cast<const std::byte*>(w + at) + kBytesAhead, 0, 2);
        });
  } else {
    int64_t left = strip.steps;
    for (DotAhead ahead : {w_ahead, x_ahead}) {
      const int64_t count = std::min(left, ahead.pairs);
      steps(
          count, [&]() __attribute__((always_inline)) { ahead.fetch(); });
      left -= count;
    }
    steps(left, [] {});
  }
  if (strip.tail) multiply([&](const W* p) __attribute__((always_inline)) { return D::load_n(p, strip.tail); });

  add_tile<typename D::V>(acc, strip.first, sums, strip.pitch);
}

template <class D, int R, int C, class W>
__attribute__((noinline)) void dot_strip(const DotStrip<typename D::Element, W>& strip) {
  for (int64_t i = 0; i < strip.tiles; ++i)
    dot_tile<D, R, C>(strip, strip.w + i * strip.w_tile, strip.sums + i * C, strip.w_ahead.after(i), strip.x_ahead.after(i));
}

template <class D, int C, class W>
SLUICE_INLINE void dot_strip(int rows, const DotStrip<typename D::Element, W>& strip) {
  with_count<D::kTileRows>(rows, [&]<int R>() { dot_strip<D, R, C>(strip); });
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
    if (p_.alone || p_.row_tiles < team.size()) {
      pack_x(0, p_.row_tiles);
    } else {
      team.split(p_.row_tiles, 1, [&](int64_t begin, int64_t end, int) { pack_x(begin, end); });
    }
    if (p_.alone) {
      for (int64_t i = 0; i < items; ++i) item(i, 0, i + 1 < items);
    } else {
      team.each(items, [&](int64_t i, int thread) { item(i, thread, team.goes_on(i, items, thread)); });
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

  // goes_on: the next item follows on this thread.
  void item(int64_t i, int thread, bool goes_on) const {
    std::byte* mine = per_thread_ + thread * (p_.panel_bytes + p_.sums_bytes);
    float* sums = reinterpret_cast<float*>(mine);
    const int64_t n0 = i / p_.items_m * p_.item_columns, n1 = std::min(n0 + p_.item_columns, a_.w.shape[0]);
    const int64_t t0 = i % p_.items_m * p_.item_row_tiles, t1 = std::min(t0 + p_.item_row_tiles, p_.row_tiles);
    if (p_.panel_bytes) return panel_item(n0, n1, t0, t1, reinterpret_cast<Element*>(mine + p_.sums_bytes), sums);
    if (p_.row_tiles == 1) return row_item(n0, n1, sums);
    const bool new_columns = goes_on && (i + 1) % p_.items_m == 0;
    tiles_item(n0, n1, t0, t1, new_columns ? std::min(n1 + p_.item_columns, a_.w.shape[0]) : n1, sums);
  }

  // f(step, whole steps, elements of a last one that is not whole) for each chunk of K, of which there is at least one.
  template <class F>
  void for_chunks(F&& f) const {
    const int64_t whole = k() / D::kStep;
    for (int64_t s = 0; s < std::max<int64_t>(p_.steps, 1); s += kChunkSteps) {
      const int64_t steps = std::min<int64_t>(kChunkSteps, whole - s);
      f(s, steps, steps < kChunkSteps ? int(k() - whole * D::kStep) : 0);
    }
  }

  // All rows of x, which are one tile, times rows [n0, n1) of w.
  void row_item(int64_t n0, int64_t n1, float* sums) const {
    const int64_t rows = p_.chunks == 1 ? n1 - n0 : 1;  // at a time, so that w is read in one run
    for (int64_t n = n0; n < n1; n += rows)
      for_chunks([&](int64_t s, int64_t steps, int tail) {
        dot_strip<D, 1>(tile_rows(0), strip_in_place(0, s, n, rows, 1, steps, tail, sums_at(sums, 0, n0) + (n - n0)));
      });
    if (!p_.sums_in_y) store(0, 1, n0, n1, sums);
  }

  // Row tiles [t0, t1) times rows [n0, n1) of w. Those up to `soon` are wanted next.
  void tiles_item(int64_t n0, int64_t n1, int64_t t0, int64_t t1, int64_t soon, float* sums) const {
    const int64_t tiles = (t1 - t0) * ceil_div(n1 - n0, kDotColumns) * p_.chunks;
    auto w_ahead = DotAhead::of(w_row(n1), (soon - n1) * a_.w.stride[0] * int64_t(sizeof(W)), tiles);
    for_strips(n0, n1, t0, t1, sums, [&](int64_t u, int64_t n, int64_t count, int64_t s, int64_t steps, int tail, float* to) {
      auto strip = strip_in_place(u, s, n, count / kDotColumns, kDotColumns, steps, tail, to);
      strip.w_ahead = w_ahead, w_ahead = w_ahead.after(strip.tiles);
      strip.x_ahead = next_of_x(strip.x, steps, n1 - n0).after((n - n0) / kDotColumns);
      dot_strip<D, kDotColumns>(tile_rows(u), strip);
      const int64_t done = strip.tiles * kDotColumns;
      if (done < count) dot_strip<D, 1>(tile_rows(u), strip_in_place(u, s, n + done, count - done, 1, steps, tail, to + done));
    });
  }

  DotStrip<Element, W> strip_in_place(int64_t u, int64_t s, int64_t n, int64_t tiles, int64_t tile, int64_t steps, int tail,
                                      float* sums) const {
    const int64_t pitch = a_.w.stride[0];
    return {x_tile(u, s),
            w_row(n) + s * D::kStep,
            pitch,
            D::kStep,
            tile * pitch,
            tiles,
            steps,
            tail,
            s == 0,
            sums,
            sums_pitch(),
            {},
            {}};
  }

  // What follows a chunk of x, in the course of the tiles of one: with many rows it comes from L3.
  DotAhead next_of_x(const Element* chunk, int64_t steps, int64_t columns) const {
    const int64_t elements = steps * D::kTileRows * D::kStep;
    return DotAhead::of(chunk + elements, elements * int64_t(sizeof(Element)), ceil_div(columns, kDotColumns));
  }

  void panel_item(int64_t n0, int64_t n1, int64_t t0, int64_t t1, Element* panel, float* sums) const {
    const int64_t tile_elements = p_.steps * kDotColumns * D::kStep;
    for (int64_t n = n0; n < n1 || (n - n0) % kDotColumns != 0; ++n)
      pack_row(w_row(std::min(n, n1 - 1)), panel + (n - n0) / kDotColumns * tile_elements + (n - n0) % kDotColumns * D::kStep,
               kDotColumns);
    for_strips(n0, n1, t0, t1, sums, [&](int64_t u, int64_t n, int64_t count, int64_t s, int64_t steps, int tail, float* to) {
      const Element* w = panel + (n - n0) / kDotColumns * tile_elements + s * kDotColumns * D::kStep;
      dot_strip<D, kDotColumns>(tile_rows(u), DotStrip<Element, Element>{x_tile(u, s),
                                                                         w,
                                                                         D::kStep,
                                                                         kDotColumns * D::kStep,
                                                                         tile_elements,
                                                                         (count + kDotColumns - 1) / kDotColumns,
                                                                         steps + (tail > 0),
                                                                         0,
                                                                         s == 0,
                                                                         to,
                                                                         p_.item_columns,
                                                                         {},
                                                                         {}});
    });
  }

  // multiply(row tile, column, columns, step, whole steps, tail, sums) for each strip and chunk, and y is stored. Where L1 holds
  // several row tiles, they use a tile of w one after another.
  template <class F>
  void for_strips(int64_t n0, int64_t n1, int64_t t0, int64_t t1, float* sums, F&& multiply) const {
    constexpr int64_t kStrip = kRowTiles == 1 ? simd::kLanes : kDotColumns;
    for (int64_t t = t0; t < t1; t += kRowTiles) {
      const int64_t last = std::min<int64_t>(t + kRowTiles, t1);
      for_chunks([&](int64_t s, int64_t steps, int tail) {
        for (int64_t n = n0; n < n1; n += kStrip) {
          const int64_t end = std::min(n + kStrip, n1);
          for (int64_t u = t; u < last; ++u)
            multiply(u, n, end - n, s, steps, tail, sums_at(sums, t, n0) + (u - t) * D::kTileRows * sums_pitch() + (n - n0));
          const int64_t begin = n - (n - n0) % simd::kLanes;  // y is stored vector by vector
          if (!p_.sums_in_y && s + kChunkSteps >= p_.steps && (end - begin == simd::kLanes || end == n1))
            store(t, last, begin, end, sums + (begin - n0));
        }
      });
    }
  }

  // Where the sums of row tile t from column n0 on are kept, and from row to row.
  float* sums_at(float* sums, int64_t t, int64_t n0) const {
    return p_.sums_in_y ? a_.y.template as<float>() + t * D::kTileRows * a_.y.stride[0] + n0 : sums;
  }
  int64_t sums_pitch() const { return p_.sums_in_y ? a_.y.stride[0] : p_.item_columns; }

  // The sums of row tiles [t0, t1) and columns [n0, n1) go to y, rounded if y is bf16.
  void store(int64_t t0, int64_t t1, int64_t n0, int64_t n1, const float* sums) const {
    const int64_t m1 = std::min(t1 * D::kTileRows, a_.x.shape[0]);
    visit_float(a_.y, [&]<class Y>(Y*) {
      for (int64_t m = t0 * D::kTileRows; m < m1; ++m, sums += p_.item_columns)
        for (int64_t n = n0; n < n1; n += simd::kLanes) {
          const int lanes = simd::lanes_at(n, n1);
          D::V::store_n(a_.y.template as<Y>() + m * a_.y.stride[0] + n, D::V::load_n(sums + (n - n0), lanes), lanes);
        }
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
