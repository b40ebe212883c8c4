// The tile form, both operands bf16: one tdpbf16ps multiplies 16 rows of w by 16 rows of x over 32 elements of k.
//
// w is the first operand: 16 rows of 64 bytes, loaded straight from the row-major matrix. x is the second, packed once a call as
// [16 rows of x][step][pair of k][row][2]; with fewer than 16 rows the tiles are narrower. y comes out transposed and is turned
// while it is stored.
//
//   few rows of x (32):  a block is 16 rows of w times all of x. w is read where it lies, once, the next 16 rows prefetched:
//                        few enough streams for a core's prefetchers to follow. A ragged edge goes through a padded copy
//   many:                a block is 32 rows of w times 32 of x: four accumulators, four loads for four multiplications. An item is
//                        256 rows of w times 512 of x, in chunks of 512 elements of k; a chunk of w is copied to a panel of tiles
//                        in L2, and the next one prefetched meanwhile. Accumulators rest in memory between chunks
//
// The order of a sum: the instruction's own within a step of 32 elements (even and odd elements apart), steps ascending. A tile
// that was stored and loaded again is the same tile, so chunks do not show. Both forms flush denormals to zero.
#include "core/rows.h"
#include "core/simd_avx512.h"
#include "ops/matmul/forms.h"

namespace sluice {
namespace {

constexpr int64_t kStep = 32;  // elements of k in a row of a tile, 64 bytes
constexpr int64_t kSide = 16;  // rows of a tile
constexpr int64_t kTileBytes = 1024;
constexpr int64_t kTileFloats = 256;
constexpr int64_t kBlock = 2 * kSide;
constexpr int64_t kBlockFloats = 4 * kTileFloats;

constexpr int64_t kChunkSteps = 16;          // 32 rows of w: 32 KiB, most of L1; 512 rows of x: 512 KiB, a quarter of L2
constexpr int64_t kItemRows = 512;           // of x
constexpr int64_t kItemColumns = 256;        // rows of w
constexpr int64_t kStreamColumns = 64;       // the same where w is read in place: 128 KiB at K = 1024
constexpr int64_t kAloneProducts = 1 << 16;  // below this, a few microseconds, the team's start shows

SLUICE_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
SLUICE_INLINE int64_t cuts(int64_t n, int64_t size) { return (n + size - 1) / size; }

// How a call is cut into items, and what memory it needs.
struct Plan {
  int64_t steps, tiles_m;
  int64_t columns;  // of a tile of x
  bool direct, alone;
  int64_t item_rows, item_columns, items_m, items_n;
  size_t x_bytes, panel_bytes, sums_bytes;
};

Plan make_plan(const MatmulArgs& a, int threads) {
  const int64_t m = a.x.shape[0], n = a.w.shape[0], k = a.x.shape[1];
  Plan p{};
  p.steps = cuts(k, kStep);
  p.columns = least(m, kSide);
  p.direct = m <= kBlock;
  p.alone = threads == 1 || m * n * k <= kAloneProducts;
  p.tiles_m = m <= kSide ? 1 : 2 * cuts(m, kBlock);
  p.item_columns = p.direct ? kStreamColumns : kItemColumns;
  p.items_n = cuts(n, p.item_columns);
  p.item_rows = least(cuts(m, kBlock) * kBlock, kItemRows);
  // Where columns are few, rows are cut so that every thread has items, and a slow one fewer.
  while (!p.alone && p.item_rows > kBlock && cuts(m, p.item_rows) * p.items_n < 2 * threads)
    p.item_rows = cuts(p.item_rows, 2 * kBlock) * kBlock;
  p.items_m = cuts(m, p.item_rows);
  p.x_bytes = p.tiles_m * p.steps * kTileBytes;
  p.panel_bytes = p.direct ? kBlock * p.steps * 64 : p.item_columns * kChunkSteps * 64;
  p.sums_bytes = p.item_columns * p.item_rows * sizeof(float);
  return p;
}

// Turns a 16 x 16 matrix of 32-bit elements: first within quarters of 4 x 4, then the quarters.
SLUICE_INLINE void transpose(__m512i (&r)[kSide]) {
  __m512i t[kSide];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88), odd0 = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    const __m512i even1 = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88), odd1 = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    r[i] = _mm512_shuffle_i32x4(even0, even1, 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(odd0, odd1, 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(even0, even1, 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(odd0, odd1, 0xdd);
  }
}

// The tile intrinsics do not tell the compiler what memory they read.
SLUICE_INLINE void publish_stores() { __asm__ volatile("" ::: "memory"); }

// The shapes of the tile registers while it lives: 0 to 3 accumulate, 4 and 5 hold w, 6 and 7 hold x.
class TileShapes {
 public:
  explicit TileShapes(int64_t columns) {
    alignas(64) struct {  // the layout of ldtilecfg's operand
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } shapes;
    for (int t = 0; t < 8; ++t) {
      shapes.rows[t] = kSide;
      shapes.row_bytes[t] = uint16_t(t == 4 || t == 5 ? 64 : columns * sizeof(float));
    }
    publish_stores();
    _tile_loadconfig(&shapes);
  }
  ~TileShapes() { _tile_release(); }
  TileShapes(const TileShapes&) = delete;
  TileShapes& operator=(const TileShapes&) = delete;
};

// 32 rows of w times 32 of x, from panels: accumulators += w x^T.
SLUICE_INLINE void multiply(const std::byte* w, const std::byte* x0, const std::byte* x1, int64_t steps) {
  publish_stores();
  for (int64_t s = 0; s < steps; ++s, w += 2 * kTileBytes, x0 += kTileBytes, x1 += kTileBytes) {
    _tile_loadd(4, w, 64);
    _tile_loadd(6, x0, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, w + kTileBytes, 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_loadd(7, x1, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(3, 5, 7);
  }
}

// 16 rows of w, in place or in a panel.
struct TileRows {
  const std::byte* first;
  int64_t pitch;  // bytes from a row to the next
  int64_t step;   // bytes from a step to the next
  int64_t ahead;  // bytes from a row to the one that is prefetched with it; 0 for none
};

// The same for 16 rows of w, and with kPair 32 rows of x, else at most 16. The first two accumulators.
template <bool kPair>
SLUICE_INLINE void multiply_stream(TileRows w, const std::byte* x0, const std::byte* x1, int64_t x_pitch, int64_t steps) {
  publish_stores();
  for (int64_t s = 0; s < steps; ++s, w.first += w.step, x0 += kSide * x_pitch, x1 += kSide * x_pitch) {
    if (w.ahead)
      for (int64_t r = 0; r < kSide; ++r) _mm_prefetch(w.first + w.ahead + r * w.pitch, _MM_HINT_T0);
    _tile_loadd(4, w.first, w.pitch);
    _tile_loadd(6, x0, x_pitch);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kPair) {
      _tile_loadd(7, x1, x_pitch);
      _tile_dpbf16ps(1, 4, 7);
    }
  }
}

SLUICE_INLINE void zero_accumulators() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

SLUICE_INLINE void load_accumulators(const float* block) {
  publish_stores();
  _tile_loadd(0, block, 64);
  _tile_loadd(1, block + kTileFloats, 64);
  _tile_loadd(2, block + 2 * kTileFloats, 64);
  _tile_loadd(3, block + 3 * kTileFloats, 64);
}

SLUICE_INLINE void store_accumulators(float* block) {
  _tile_stored(0, block, 64);
  _tile_stored(1, block + kTileFloats, 64);
  _tile_stored(2, block + 2 * kTileFloats, 64);
  _tile_stored(3, block + 3 * kTileFloats, 64);
}

// A call in progress.
class AmxMatmul {
 public:
  AmxMatmul(const MatmulArgs& a, const Plan& plan, std::byte* scratch)
      : a_(a), p_(plan), packed_x_(scratch), per_thread_(scratch + plan.x_bytes) {}

  void run(ThreadTeam& team) {
    const int64_t items = p_.items_n * p_.items_m;
    if (p_.alone || p_.direct) pack_x(0, p_.tiles_m);
    else team.split(p_.tiles_m, 1, [this](int64_t begin, int64_t end, int) { pack_x(begin, end); });
    if (p_.alone)
      for (int64_t i = 0; i < items; ++i) item(i, 0, i + 1 < items);
    else team.each(items, [&](int64_t i, int thread) { item(i, thread, team.goes_on(i, items, thread)); });
  }

 private:
  int64_t m() const { return a_.x.shape[0]; }
  int64_t k() const { return a_.x.shape[1]; }
  int64_t x_pitch() const { return p_.columns * int64_t(sizeof(float)); }
  std::byte* x_tile(int64_t tile, int64_t step) const { return packed_x_ + (tile * p_.steps + step) * kSide * x_pitch(); }
  const Bf16* w_row(int64_t n) const { return a_.w.as<Bf16>() + n * a_.w.stride[0]; }
  __mmask32 inside(int64_t step) const { return __mmask32((uint64_t(1) << least(k() - step * kStep, kStep)) - 1); }

  void pack_x(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t s = 0; s < p_.steps; ++s) {
        const Bf16* x = a_.x.as<Bf16>() + t * kSide * a_.x.stride[0] + s * kStep;
        __m512i r[kSide];
#pragma GCC unroll 16
        for (int i = 0; i < kSide; ++i)
          r[i] = t * kSide + i < m() ? _mm512_maskz_loadu_epi16(inside(s), x + i * a_.x.stride[0]) : _mm512_setzero_si512();
        transpose(r);
#pragma GCC unroll 16
        for (int i = 0; i < kSide; ++i)
          _mm512_mask_storeu_epi32(x_tile(t, s) + i * x_pitch(), simd::Avx512::first(int(p_.columns)), r[i]);
      }
  }

  // Rows [n0, n1) of w, `steps` steps from s0, as [32 rows][step][two tiles]; zeros beyond n1 and K.
  void pack_w(int64_t n0, int64_t n1, int64_t s0, int64_t steps, std::byte* panel) const {
    for (int64_t n = n0; n < n1 || (n - n0) % kBlock != 0; ++n) {
      std::byte* to = panel + (n - n0) / kBlock * steps * 2 * kTileBytes + (n - n0) % kBlock * 64;
      for (int64_t s = 0; s < steps; ++s, to += 2 * kTileBytes)
        _mm512_store_si512(to, _mm512_maskz_loadu_epi16(n < n1 ? inside(s0 + s) : 0, w_row(least(n, n1 - 1)) + (s0 + s) * kStep));
    }
  }

  // goes_on: the next item follows on this thread.
  void item(int64_t i, int thread, bool goes_on) const {
    const TileShapes shapes(p_.columns);
    std::byte* panel = per_thread_ + thread * (p_.panel_bytes + p_.sums_bytes);
    float* sums = reinterpret_cast<float*>(panel + p_.panel_bytes);
    const int64_t n0 = i / p_.items_m * p_.item_columns, n1 = least(n0 + p_.item_columns, a_.w.shape[0]);
    const int64_t m0 = i % p_.items_m * p_.item_rows, m1 = least(m0 + p_.item_rows, m());
    if (!p_.direct) return panel_item(n0, n1, m0, m1, panel, sums);
    for (int64_t n = n0; n < n1; n += kSide) direct_block(n, least(n + kSide, n1), goes_on || n + kSide < n1, panel, sums);
  }

  // All rows of x, at most 32, times rows [n0, n1) of w, at most 16. goes_on: the next 16 rows follow.
  void direct_block(int64_t n0, int64_t n1, bool goes_on, std::byte* panel, float* sums) const {
    const int64_t pitch = a_.w.stride[0] * int64_t(sizeof(Bf16));
    TileRows w{reinterpret_cast<const std::byte*>(w_row(n0)), pitch, 64, goes_on ? kSide * pitch : 0};
    if (n1 - n0 < kSide || k() % kStep != 0) {
      pack_w(n0, n1, 0, p_.steps, panel);
      w = {panel, 64, 2 * kTileBytes, 0};
    }
    zero_accumulators();
    if (p_.tiles_m > 1) multiply_stream<true>(w, x_tile(0, 0), x_tile(1, 0), x_pitch(), p_.steps);
    else multiply_stream<false>(w, x_tile(0, 0), x_tile(0, 0), x_pitch(), p_.steps);
    store_accumulators(sums);
    store_block(n0, n1, 0, m(), sums);
  }

  // Rows [m0, m1) of x times rows [n0, n1) of w.
  void panel_item(int64_t n0, int64_t n1, int64_t m0, int64_t m1, std::byte* panel, float* sums) const {
    for (int64_t s = 0; s == 0 || s < p_.steps; s += kChunkSteps) {
      const int64_t steps = least(kChunkSteps, p_.steps - s), lines_per_block = cuts(kBlock * kChunkSteps, cuts(m1 - m0, kBlock));
      const bool last = s + kChunkSteps >= p_.steps;
      pack_w(n0, n1, s, steps, panel);
      float* block = sums;
      for (int64_t n = n0; n < n1; n += kBlock) {
        const std::byte* rows = panel + (n - n0) * steps * 64;
        for (int64_t m = m0, line = 0; m < m1; m += kBlock, block += kBlockFloats, line += lines_per_block) {
          if (!last) prefetch_w(n, s + kChunkSteps, line, line + lines_per_block);
          if (s == 0) zero_accumulators();
          else load_accumulators(block);
          multiply(rows, x_tile(m / kSide, s), x_tile(m / kSide + 1, s), steps);
          store_accumulators(block);
          if (last) store_block(n, n1, m, m1, block);
        }
      }
    }
  }

  // Lines [begin, end) of those that 32 rows of w have in the chunk from step s, into L2.
  void prefetch_w(int64_t n, int64_t s, int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; ++i)
      _mm_prefetch(w_row(least(n + i / kChunkSteps, a_.w.shape[0] - 1)) + (s + i % kChunkSteps) * kStep, _MM_HINT_T1);
  }

  // Four accumulators to y, as far as it has rows and columns.
  void store_block(int64_t n0, int64_t n1, int64_t m0, int64_t m1, const float* block) const {
    for (int t = 0; t < 4; ++t) {
      const int64_t n = n0 + t / 2 * kSide, m = m0 + t % 2 * kSide;
      if (n < n1 && m < m1) store_tile(n, least(n1 - n, kSide), m, least(m1 - m, kSide), block + t * kTileFloats);
    }
  }
  void store_tile(int64_t n, int64_t columns, int64_t m, int64_t rows, const float* tile) const {
    __m512i r[kSide];
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) r[i] = _mm512_loadu_si512(tile + i * kSide);
    transpose(r);
    visit_float(a_.y, [&]<class Y>(Y*) {
      Y* y = a_.y.as<Y>() + m * a_.y.stride[0] + n;
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i)
        if (i < rows) simd::Avx512::store_n(y + i * a_.y.stride[0], _mm512_castsi512_ps(r[i]), int(columns));
    });
  }

  const MatmulArgs& a_;
  const Plan& p_;
  std::byte* packed_x_;
  std::byte* per_thread_;  // for each thread: its panel of w, then its accumulators at rest
};

}  // namespace

Status matmul_amx(Context& ctx, const MatmulArgs& a, std::byte* scratch) {
  if (a.y.numel() == 0) return {};
  const Plan plan = make_plan(a, ctx.team->size());
  AmxMatmul(a, plan, scratch).run(*ctx.team);
  return {};
}

size_t matmul_amx_workspace(const Context& ctx, const MatmulArgs& a) {
  if (a.y.numel() == 0) return 0;
  const Plan p = make_plan(a, ctx.team->size());
  return p.x_bytes + ctx.team->size() * (p.panel_bytes + p.sums_bytes);
}

}  // namespace sluice
