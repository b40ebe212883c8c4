// The outer-product form, for AVX2: lanes run along n, so that sums need no reduction at their end.
//
// The order of a sum, whoever computes it: K is cut into pieces of 256 elements. A piece is one chain of multiply-adds from zero, k
// ascending; pieces are added in order.
//
// A tile is 6 rows of x by 16 rows of w. Its 12 sums, two vectors of w and one element of x are 15 of the 16 registers, and 8 loads
// feed 12 multiply-adds. Operands are widened to fp32:
//
//   x is packed once a call:    [row tile][k][rows of the tile]
//   w, one tile of rows of x:   read where it lies, blocks of 16 rows by 8 elements turned into columns as they come
//   w, more:                    an item turns its rows into a panel of half of L2, [16 rows][k][16], used for all tiles. A piece of
//                               16 rows (16 KiB) stays in L1 while tiles of x (6 KiB) pass by.
#include <algorithm>

#include "base/checked.h"
#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd_avx2.h"
#include "core/with_count.h"
#include "ops/matmul/forms.h"

namespace sluice {
namespace {

using V = simd::Avx2;
using F = V::F;

constexpr int kTileRows = 6, kTileColumns = simd::kLanes, kPiece = 256, kBlock = 8;
constexpr int64_t kGroup = 16;               // tiles of x that a piece of w is used for before the next one: 96 KiB
constexpr int64_t kPanelBytes = 512 << 10;   // half of the smallest L2 cache that matters
constexpr int64_t kMostColumns = 512;        // of a panel
constexpr int64_t kAloneProducts = 1 << 16;  // below this, a few microseconds, the team's start shows
constexpr int64_t kItems = 4;                // for each thread, so that one which finishes early finds more

// What one call is cut into. Nothing here changes a result, only its speed.
struct Plan {
  int64_t row_tiles;
  bool stream;  // one tile of x: w is read where it lies
  bool alone;
  int64_t item_columns, item_tiles, items_n, items_m;
  size_t x_bytes, panel_bytes, sums_bytes;  // of scratch: x once; a panel and sums for each thread

  Plan(const MatmulArgs& a, int threads) {
    const int64_t m = a.x.shape[0], n = a.w.shape[0], k = a.x.shape[1];
    row_tiles = ceil_div(m, int64_t(kTileRows));
    stream = row_tiles <= 1;
    alone = threads == 1 || m * n * k <= kAloneProducts;
    const int64_t share = round_up(ceil_div(n, alone ? 1 : kItems * threads), kTileColumns);
    const int64_t column_bytes = std::max<int64_t>(k, 1) * int64_t(sizeof(float));
    const int64_t fitting =
        std::clamp<int64_t>(kPanelBytes / column_bytes / kTileColumns * kTileColumns, kTileColumns, kMostColumns);
    item_columns = std::min(stream ? share : fitting, round_up(n, kTileColumns));
    items_n = ceil_div(n, item_columns);
    // Rows are cut only where columns are too few.
    const int64_t wanted = alone || stream ? 1 : ceil_div(kItems * threads, items_n);
    item_tiles = wanted == 1 ? row_tiles : std::max<int64_t>(1, ceil_div(row_tiles, wanted));
    items_m = ceil_div(row_tiles, item_tiles);
    x_bytes = round_up(m * column_bytes, kCacheLine);
    panel_bytes = stream ? 0 : round_up(item_columns * column_bytes, kCacheLine);
    sums_bytes = stream ? 0 : round_up(kGroup * kTileRows * item_columns * int64_t(sizeof(float)), kCacheLine);
  }
};

// column[j] = element j of 16 rows. bf16: pairs of elements are turned, and then each is split into its upper and its lower half.
SLUICE_INLINE void turn(const Bf16* const (&row)[kTileColumns], int64_t k, F (&column)[kBlock]) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    __m256 pair[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m128i low = V::load8(row[8 * h + i] + k), high = V::load8(row[8 * h + i + 4] + k);
      pair[i] = _mm256_castsi256_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
    }
    V::transpose4(pair);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256i bits = _mm256_castps_si256(pair[i]);
      column[2 * i].h[h] = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
      column[2 * i + 1].h[h] = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(int(0xffff0000u))));
    }
  }
}
SLUICE_INLINE void turn(const float* const (&row)[kTileColumns], int64_t k, F (&column)[kBlock]) {
#pragma GCC unroll 4
  for (int part = 0; part < 4; ++part) {  // halves of the rows, halves of the elements
    const int h = part / 2, first = part % 2 * 4;
    __m256 four[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      four[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[8 * h + i] + k + first)),
                                     _mm_loadu_ps(row[8 * h + i + 4] + k + first), 1);
    V::transpose4(four);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) column[first + i].h[h] = four[i];
  }
}
// The last n < kBlock elements of rows.
template <class W>
SLUICE_INLINE void turn_n(const W* const (&row)[kTileColumns], int64_t k, int n, F (&column)[kBlock]) {
  W copy[kTileColumns][kBlock] = {};
  const W* of_copy[kTileColumns];
  for (int i = 0; i < kTileColumns; ++i) {
    std::memcpy(copy[i], row[i] + k, size_t(n) * sizeof(W));
    of_copy[i] = copy[i];
  }
  turn(of_copy, 0, column);
}

// Sixteen rows of w. Beyond the last one that one again, which is not stored.
template <class W>
struct WeightRows {
  const W* row[kTileColumns];
  int64_t ahead;  // elements to the rows that are read after these

  WeightRows(const Tensor& w, int64_t n) : ahead(kTileColumns * w.stride[0]) {
    for (int i = 0; i < kTileColumns; ++i) row[i] = w.as<W>() + std::min(n + i, w.shape[0] - 1) * w.stride[0];
  }
  // Sends for the same elements of the next rows, once a cache line.
  SLUICE_INLINE void prefetch(int64_t k) const {
    if (k % int64_t(kCacheLine / sizeof(W)) != 0) return;
#pragma GCC unroll 16
    for (int i = 0; i < kTileColumns; ++i) __builtin_prefetch(row[i] + ahead + k, 0, 2);
  }
};

// acc[p][r] = the piece that begins at k + p * kPiece, of `length` elements, times row r of x. A row alone takes two pieces at a
// time, since one chain a register would wait for itself.
template <int R, int P, class W>
SLUICE_INLINE void stream_pieces(const float* x, const WeightRows<W>& w, int64_t k, int64_t length, F (&acc)[P][R]) {
#pragma GCC unroll 2
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[p][r] = V::zero();
  const auto multiply = [&](const F(&column)[kBlock], int64_t at, int p, int n) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int j = 0; j < n; ++j)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[p][r] = V::fma(V::set1(x[(at + j) * R + r]), column[j], acc[p][r]);
  };
  const int64_t end = k + length;
  F column[kBlock];
  for (; k + kBlock <= end; k += kBlock)
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      const int64_t at = k + p * kPiece;
      w.prefetch(at);
      turn(w.row, at, column);
      multiply(column, at, p, kBlock);
    }
  if (k == end) return;
  turn_n(w.row, k, int(end - k), column);  // of the last piece, which comes alone
  for (int j = 0; k + j < end; ++j)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[0][r] = V::fma(V::set1(x[(k + j) * R + r]), column[j], acc[0][r]);
}

// total[r] = row r of x, of R, times sixteen rows of w.
template <int R, class W>
__attribute__((noinline)) void stream(const float* x, const WeightRows<W>& w, int64_t K, F (&total)[R]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) total[r] = V::zero();
  const auto add = [&](int64_t k, const F(&piece)[R]) {
    for (int r = 0; r < R; ++r) total[r] = k == 0 ? piece[r] : V::add(total[r], piece[r]);
  };
  int64_t k = 0;
  if constexpr (R == 1)
    for (; k + 2 * kPiece <= K; k += 2 * kPiece) {
      F acc[2][R];
      stream_pieces<R, 2>(x, w, k, kPiece, acc);
      add(k, acc[0]), add(k + kPiece, acc[1]);
    }
  for (; k < K; k += kPiece) {
    F acc[1][R];
    stream_pieces<R, 1>(x, w, k, std::min<int64_t>(kPiece, K - k), acc);
    add(k, acc[0]);
  }
}

// sums[r][..] = (first) or += R rows of x times 16 columns of a panel, over `length` elements of k. The tile of x that comes next
// lies `ahead` elements further on, in L2.
template <int R>
__attribute__((noinline)) void tile(const float* x, const float* w, int64_t length, int64_t ahead, bool first, float* sums,
                                    int64_t pitch) {
  F acc[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) acc[r] = V::zero();
#pragma GCC unroll 4
  for (int64_t k = 0; k < length; ++k) {
    if (k % 2 == 0) __builtin_prefetch(x + ahead + k * R);  // 48 bytes on each time
    const F columns = V::load(w + k * kTileColumns);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = V::fma(V::set1(x[k * R + r]), columns, acc[r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) V::store(sums + r * pitch, first ? acc[r] : V::add(V::load(sums + r * pitch), acc[r]));
}

// A call in progress. X and W are the stored types of x and w.
template <class X, class W>
class Product {
 public:
  Product(const MatmulArgs& a, const Plan& plan, std::byte* scratch)
      : a_(a), p_(plan), packed_x_(reinterpret_cast<float*>(scratch)), per_thread_(scratch + plan.x_bytes) {}

  void run(ThreadTeam& team) const {
    const int64_t items = p_.items_n * p_.items_m;
    if (p_.alone) {
      pack_x(0, p_.row_tiles);
      for (int64_t i = 0; i < items; ++i) item(i, 0);
    } else {
      team.split(p_.row_tiles, 1, [&](int64_t begin, int64_t end, int) { pack_x(begin, end); });
      team.each(items, [&](int64_t i, int thread) { item(i, thread); });
    }
  }

 private:
  int64_t depth() const { return a_.x.shape[1]; }
  int rows(int64_t t) const { return int(std::min<int64_t>(kTileRows, a_.x.shape[0] - t * kTileRows)); }
  float* x_tile(int64_t t) const { return packed_x_ + t * kTileRows * depth(); }
  int lanes(int64_t n) const { return simd::lanes_at(n, a_.w.shape[0]); }

  void pack_x(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t)
      with_count<kTileRows>(rows(t), [&]<int R>() {
        float* to = x_tile(t);
        for (int r = 0; r < R; ++r) {
          const X* from = a_.x.template as<X>() + (t * kTileRows + r) * a_.x.stride[0];
          for (int64_t k = 0; k < depth(); ++k) to[k * R + r] = float(from[k]);
        }
      });
  }

  void item(int64_t i, int thread) const {
    const int64_t n0 = i / p_.items_m * p_.item_columns, n1 = std::min(n0 + p_.item_columns, a_.w.shape[0]);
    if (p_.stream) return stream_item(n0, n1);
    const int64_t t0 = i % p_.items_m * p_.item_tiles, t1 = std::min(t0 + p_.item_tiles, p_.row_tiles);
    float* sums = reinterpret_cast<float*>(per_thread_ + thread * (p_.panel_bytes + p_.sums_bytes));
    panel_item(n0, n1, t0, t1, sums, sums + p_.sums_bytes / sizeof(float));
  }

  void stream_item(int64_t n0, int64_t n1) const {
    with_count<kTileRows>(rows(0), [&]<int R>() {
      for (int64_t n = n0; n < n1; n += kTileColumns) {
        F total[R];
        stream<R>(packed_x_, WeightRows<W>(a_.w, n), depth(), total);
        visit_float(a_.y, [&]<class Y>(Y*) {
          for (int r = 0; r < R; ++r) V::store_n(a_.y.template as<Y>() + r * a_.y.stride[0] + n, total[r], lanes(n));
        });
      }
    });
  }

  void pack_panel(int64_t n, float* panel) const {
    const WeightRows<W> w(a_.w, n);
    F column[kBlock];
    int64_t k = 0;
    for (; k + kBlock <= depth(); k += kBlock) {
      w.prefetch(k);
      turn(w.row, k, column);
#pragma GCC unroll 8
      for (int j = 0; j < kBlock; ++j) V::store(panel + (k + j) * kTileColumns, column[j]);
    }
    if (k == depth()) return;
    turn_n(w.row, k, int(depth() - k), column);
    for (int j = 0; k + j < depth(); ++j) V::store(panel + (k + j) * kTileColumns, column[j]);
  }

  void panel_item(int64_t n0, int64_t n1, int64_t t0, int64_t t1, float* sums, float* panel) const {
    for (int64_t n = n0; n < n1; n += kTileColumns) pack_panel(n, panel + (n - n0) * depth());
    for (int64_t t = t0; t < t1; t += kGroup) {
      const int64_t last = std::min(t + kGroup, t1);
      for (int64_t k = 0; k < std::max<int64_t>(depth(), 1); k += kPiece)
        for (int64_t n = n0; n < n1; n += kTileColumns)
          for (int64_t u = t; u < last; ++u)
            with_count<kTileRows>(rows(u), [&]<int R>() {
              const float* w = panel + (n - n0) * depth() + k * kTileColumns;
              float* to = sums + (u - t) * kTileRows * p_.item_columns + (n - n0);
              tile<R>(x_tile(u) + k * R, w, std::min<int64_t>(kPiece, depth() - k), kTileRows * depth(), k == 0, to,
                      p_.item_columns);
            });
      store(t, last, n0, n1, sums);
    }
  }

  // The sums of row tiles [t0, t1) and columns [n0, n1) go to y, rounded if y is bf16.
  void store(int64_t t0, int64_t t1, int64_t n0, int64_t n1, const float* sums) const {
    const int64_t m1 = std::min(t1 * kTileRows, a_.x.shape[0]);
    visit_float(a_.y, [&]<class Y>(Y*) {
      for (int64_t m = t0 * kTileRows; m < m1; ++m, sums += p_.item_columns)
        for (int64_t n = n0; n < n1; n += kTileColumns)
          V::store_n(a_.y.template as<Y>() + m * a_.y.stride[0] + n, V::load(sums + (n - n0)), lanes(n));
    });
  }

  const MatmulArgs& a_;
  const Plan& p_;
  float* packed_x_;
  std::byte* per_thread_;  // for each thread: sums, then its panel
};

}  // namespace

size_t matmul_avx2_workspace(const Context& ctx, const MatmulArgs& a) {
  if (a.y.numel() == 0) return 0;
  const Plan p(a, ctx.team->size());
  return p.x_bytes + size_t(ctx.team->size()) * (p.panel_bytes + p.sums_bytes);
}

Status matmul_avx2(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  if (a.y.numel() == 0) return {};
  const Plan plan(a, ctx.team->size());
  visit_float(a.x, [&]<class X>(X*) { visit_float(a.w, [&]<class W>(W*) { Product<X, W>(a, plan, scratch).run(*ctx.team); }); });
  return {};
}

}  // namespace sluice
