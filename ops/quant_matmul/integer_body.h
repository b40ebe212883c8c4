// int8 and int4: products of bytes, 64 of them at a time.
//
//   one row of x:   lanes along k. Row after row of w is read where it lies, in the order of memory, and its groups' terms noted;
//                   those of 16 rows are turned, so that a vector has a group's terms of 16 rows
//   more:           lanes along n. A strip of 16 or 32 rows of w is copied as [four k][row][4], in L2 or L1, and meets all rows
//                   of x, a tile of them at a time, for the whole of K. The next strip is prefetched meanwhile
//
// Within a group sums are exact; from there on both do the same to row n of w: a group's term is its sum times x's scale, times w's
// where every group has its own, and terms are added in order.
//
// D is the instruction set:
//
//   V                fp32 lanes
//   Line             64 bytes of codes, or sixteen int32
//   kTile, kBlocks   rows of x in a tile, and of w in a strip in sixteens: so many sums are in flight
//   kInt8Offset      what as_stored() adds to a code of int8; int4's are as in memory, kInt4Offset added
//   load_first(p, n) n bytes, zeros beyond
//   begin, dot, end  the sum of a group: dot() adds the products of four codes of w with four of x to each of sixteen sums, of
//                    any type that a group does not overflow; end() has them in int32, begin()'s start included
//   sums_of_four     of lines a, b, c, d: lane 4 q + r has the sum of quarter q of line r
//   sums_of_halves   of a and b, whose quarters are added in pairs: those of a, then those of b
//   turned           lane 4 q + r to 4 r + q
//   even_odd         of each half, lanes 0 and 4 first, then 1 and 5, 2 and 6, 3 and 7
#pragma once

#include <algorithm>
#include <utility>

#include "core/simd.h"
#include "core/with_count.h"
#include "ops/quant_matmul/activations.h"
#include "ops/quant_matmul/forms.h"

namespace sluice {

// How a call is cut into items, and what memory it needs.
template <class D>
struct IntegerPlan {
  static constexpr int kTile = D::kTile;
  static constexpr int64_t kStrip = D::kBlocks * simd::kLanes;
  static constexpr int64_t kDirectRows = 64;  // rows of w in an item where they are read in place
  static constexpr int64_t kAlone = 1 << 17;  // products below which the team's start shows

  bool direct, alone;
  int64_t tile, item_rows, item_columns, items_m, items_n;
  size_t x_bytes, scale_bytes, strip_bytes;  // the last two for each thread

  IntegerPlan(const QuantMatmulArgs& a, int threads) {
    const int64_t m = a.x.shape[0], n = a.w.shape[0], k = a.x.shape[1];
    direct = m == 1;
    alone = threads == 1 || m * n * k <= kAlone;
    tile = direct ? 1 : kTile;
    item_columns = direct ? kDirectRows : kStrip;
    items_n = ceil_div(n, item_columns);
    // Rows are cut only where columns are too few for all threads.
    const int64_t tiles = ceil_div(m, tile),
                  wanted = alone ? 1 : std::max<int64_t>(1, ceil_div(4 * threads, std::max<int64_t>(items_n, 1)));
    item_rows = std::max<int64_t>(ceil_div(tiles, wanted), std::min<int64_t>(tiles, 4)) * tile;
    items_m = ceil_div(m, std::max<int64_t>(item_rows, 1));
    x_bytes = Activations::bytes(m, k, tile);
    scale_bytes = size_t(a.scale.shape[1] * kStrip) * sizeof(float);
    strip_bytes = direct ? size_t(16 * round_up(k / kQuantGroup, 16)) * sizeof(float) : size_t(k * kStrip);
  }
  size_t per_thread() const { return scale_bytes + strip_bytes; }
};

template <class D>
size_t integer_workspace(const Context& ctx, const QuantMatmulArgs& a) {
  const IntegerPlan<D> p(a, ctx.team->size());
  return p.x_bytes + ctx.team->size() * p.per_thread();
}

template <class D, bool kInt4>
class IntegerMatmul {
 public:
  using Plan = IntegerPlan<D>;
  using V = typename D::V;
  using F = typename V::F;
  using Line = typename D::Line;
  using Sum = decltype(D::template begin<kInt4>(0));
  static constexpr int kRows = 16;                           // of w, side by side in a vector
  static constexpr int64_t kLine = 64;                       // bytes of a row of w at a time
  static constexpr int64_t kBytesOfGroup = kInt4 ? 16 : 32;  // of a row of w
  static constexpr int kOffset = kInt4 ? kInt4Offset : D::kInt8Offset;

  IntegerMatmul(const QuantMatmulArgs& a, const Plan& plan, std::byte* scratch)
      : a_(a), p_(plan), x_(scratch, a, plan.tile, kOffset, plan.direct), per_thread_(scratch + plan.x_bytes) {}

  void run(ThreadTeam& team) const {
    const int64_t items = p_.items_n * p_.items_m;
    if (p_.alone) {
      x_.template quantise<V>(a_.x, 0, m());
      for (int64_t i = 0; i < items; ++i) item(i, 0, i + 1 < items);
    } else {
      team.split(m(), 8, [&](int64_t begin, int64_t end, int) { x_.template quantise<V>(a_.x, begin, end); });
      team.each(items, [&](int64_t i, int thread) { item(i, thread, team.goes_on(i, items, thread)); });
    }
  }

 private:
  int64_t m() const { return a_.x.shape[0]; }
  int64_t n() const { return a_.w.shape[0]; }
  int64_t scales() const { return a_.scale.shape[1]; }
  bool each() const { return scales() == x_.groups; }  // group has a scale of its own
  int64_t row_bytes() const { return x_.groups * kBytesOfGroup; }
  int64_t w_pitch() const { return a_.w.stride[0] * int64_t(kInt4 ? sizeof(int32_t) : sizeof(int8_t)); }

  // goes_on: the next item follows on this thread.
  void item(int64_t i, int thread, bool goes_on) const {
    std::byte* mine = per_thread_ + thread * p_.per_thread();
    auto* scale = reinterpret_cast<float*>(mine);
    const int64_t n0 = i / p_.items_m * p_.item_columns, n1 = std::min(n0 + p_.item_columns, n());
    const int64_t m0 = i % p_.items_m * p_.item_rows, m1 = std::min(m0 + p_.item_rows, m());
    if (!p_.direct)
      return strip(n0, n1, m0, m1, goes_on && p_.items_m == 1, scale, reinterpret_cast<uint8_t*>(mine + p_.scale_bytes));
    auto* terms = reinterpret_cast<float*>(mine + p_.scale_bytes);
    for (int64_t n = n0; n < n1; n += kRows) direct_block(n, int(std::min<int64_t>(kRows, n1 - n)), scale, terms);
  }

  // Scales of 16 rows as [scale of a row][blocks of 16 rows][16]: the first of `blocks`.
  void read_scales(int64_t n0, int64_t rows, int blocks, float* to) const {
    visit_scale(a_.scale, [&]<class S>(S*) {
      const S* first = a_.scale.as<S>() + n0 * a_.scale.stride[0];
      if (scales() == 1 && a_.scale.stride[0] == 1) return V::store(to, V::load_n(first, int(rows)));
      turn_scales(first, rows, blocks * kRows, to);
    });
  }

  // Scale j of sixteen rows to `to` + j * pitch: 64 bytes of each row at a time, bf16 in pairs.
  template <class S>
  void turn_scales(const S* row, int64_t rows, int64_t pitch, float* to) const {
    constexpr int kParts = sizeof(float) / sizeof(S), kSome = kRows * kParts;
    for (int64_t j = 0; j < scales(); j += kSome, row += kSome) {
      const int some = int(std::min<int64_t>(kSome, scales() - j));
      const int64_t bytes = some * int64_t(sizeof(S));
      const S* p = row;
      F r[kRows];
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        r[i] = D::lanes(D::load_first(p, bytes));
        if (i + 1 < rows) p += a_.scale.stride[0];
      }
      V::transpose(r);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        if (kParts * i >= some) break;
        if constexpr (kParts == 1) {
          V::store(to, r[i]), to += pitch;
        } else {
          const auto [even, odd] = D::template two_scales<S>(D::line(r[i]));
          V::store(to, even), to += pitch;
          if (kParts * i + 1 == some) break;
          V::store(to, odd), to += pitch;
        }
      }
    }
  }

  // ---- one row of x

  static constexpr int64_t kBytesAhead = 8 << 10;  // what is brought to L2, in the order of memory

  void direct_block(int64_t n0, int rows, float* scale, float* terms) const {
    fetch_scales(n0 + 2 * kRows);
    const int64_t pitch = round_up(x_.groups, kSums);
    F y;
    if (each()) {
      visit_scale(a_.scale, [&]<class S>(S*) {
        const S* of_row = a_.scale.as<S>() + n0 * a_.scale.stride[0];
        for (int r = 0; r < rows; ++r, of_row += a_.scale.stride[0])
          row_terms(row_of_codes(a_.w, n0 + r), of_row, terms + r * pitch);
      });
      y = sum_of_terms(terms, pitch, rows);
    } else {
      for (int r = 0; r < rows; ++r) row_terms<float>(row_of_codes(a_.w, n0 + r), nullptr, terms + r * pitch);
      read_scales(n0, rows, 1, scale);
      y = scaled_sum_of_terms(terms, pitch, rows, scale);
    }
    visit_float(a_.y, [&]<class Y>(Y*) { V::store_n(a_.y.as<Y>() + n0, y, rows); });
  }

  void fetch_scales(int64_t n0) const {
    const int64_t size = int64_t(dtype_size(a_.scale.dtype));
    const char* row = static_cast<const char*>(a_.scale.data) + n0 * a_.scale.stride[0] * size;
    for (int r = 0; r < kRows; ++r, row += a_.scale.stride[0] * size)
      for (int64_t at = 0; at < scales() * size; at += kLine) _mm_prefetch(row + at, _MM_HINT_T1);
  }

  // The terms of a row of w's groups. scale: of each group, or null.
  template <class S>
  __attribute__((noinline)) void row_terms(const uint8_t* w, const S* scale, float* terms) const {
    constexpr int64_t kBytes = kSums * kBytesOfGroup;
    const int8_t* x = x_.codes;
    int64_t left = row_bytes(), g = 0;
    const auto note = [&](Line sums, Line start, auto&& load) __attribute__((always_inline)) {
      F t = V::mul(D::to_float(D::add(sums, start)), load(x_.scale + g));
      if (scale) t = V::mul(t, load(scale + g));
      V::store(terms + g, t);
    };
    for (; left >= kBytes; left -= kBytes, w += kBytes, x += kSums * kQuantGroup, g += kSums) {
      const Line sums = group_sums(
          x, [w](int line) __attribute__((always_inline)) {
            _mm_prefetch(w + line * kLine + kBytesAhead, _MM_HINT_T1);
            return D::load(w + line * kLine);
          });
      note(
          sums, D::load(x_.start + g), [](const auto* p) __attribute__((always_inline)) { return V::load(p); });
    }
    if (left > 0) {
      const Line sums = group_sums(
          x, [ w, left ](int line) __attribute__((always_inline)) {
            return D::load_first(w + line * kLine, std::clamp<int64_t>(left - line * kLine, 0, kLine));
          });
      const int some = int(x_.groups - g);
      note(
          sums, D::load_first(x_.start + g, some * int64_t(sizeof(int32_t))), [some](const auto* p) __attribute__((always_inline)) {
            return V::load_n(p, some);
          });
    }
  }

  // The sums of sixteen groups of a row. `load` gives its lines.
  static constexpr int kSums = 16;
  template <class Load>
  static SLUICE_INLINE Line group_sums(const int8_t* x, Load&& load) {
    const auto line = [&](int i) __attribute__((always_inline)) {
      const Line w = load(i);
      const auto none = D::template begin<kInt4>(0);
      if constexpr (!kInt4) return D::end(D::dot(none, D::as_stored(w), D::load(x + i * kLine)), 0);
      else
        return D::end(
            D::dot(D::dot(none, D::low_four(w), D::load(x + 2 * i * kLine)), D::high_four(w), D::load(x + (2 * i + 1) * kLine)), 0);
    };
    const auto four = [&](int i) __attribute__((always_inline)) {
      return D::sums_of_four(line(i), line(i + 1), line(i + 2), line(i + 3));
    };
    if constexpr (kInt4) return D::turned(four(0));  // a group is a quarter
    else return D::even_odd(D::sums_of_halves(four(0), four(4)));
  }

  // f(vector of 16 rows' terms) for each group in order.
  template <class Fn>
  SLUICE_INLINE void for_terms(const float* terms, int64_t pitch, int rows, Fn&& f) const {
    for (int64_t g0 = 0; g0 < x_.groups; g0 += kSums) {
      F group[kSums];
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) group[r] = V::load(terms + std::min(r, rows - 1) * pitch + g0);
      V::transpose(group);
#pragma GCC unroll 16
      for (int i = 0; i < kSums; ++i) {
        if (g0 + i >= x_.groups) break;
        f(group[i]);
      }
    }
  }
  __attribute__((noinline)) F sum_of_terms(const float* terms, int64_t pitch, int rows) const {
    F y = V::zero();
    for_terms(
        terms, pitch, rows, [&](F t) __attribute__((always_inline)) { y = V::add(y, t); });
    return y;
  }
  // scale: of 16 rows, for so many groups each.
  __attribute__((noinline)) F scaled_sum_of_terms(const float* terms, int64_t pitch, int rows, const float* scale) const {
    const int64_t groups_of_scale = x_.groups / scales();
    int64_t left = groups_of_scale;
    F y = V::zero(), p = V::zero();
    for_terms(
        terms, pitch, rows, [&](F t) __attribute__((always_inline)) {
          p = V::add(p, t);
          if (--left > 0) return;
          y = V::fma(p, V::load(scale), y);
          p = V::zero(), scale += kRows, left = groups_of_scale;
        });
    return y;
  }

  // ---- more rows

  static constexpr int kBlocks = Plan::kStrip / kRows;    // of 16 rows of w
  static constexpr int64_t kStepBytes = kBlocks * kLine;  // four k of a strip
  static constexpr int kStepsOfGroup = kQuantGroup / 4;

  void strip(int64_t n0, int64_t n1, int64_t m0, int64_t m1, bool goes_on, float* scale, uint8_t* codes) const {
    for (int b = 0; b < kBlocks; ++b) {
      const int64_t n = std::min(n0 + b * kRows, n1 - 1), rows = std::min<int64_t>(kRows, n1 - n);
      read_scales(n, rows, kBlocks, scale + b * kRows);
      copy_block(n, rows, codes + b * kLine);
    }
    const int64_t tiles = ceil_div(m1 - m0, p_.tile), lines = ceil_div(row_bytes(), kLine);
    Ahead ahead{};
    if (goes_on) ahead = {row_of_codes(a_.w, std::min(n1, n() - 1)), std::min(Plan::kStrip, n() - n1), lines, w_pitch(), 0, 0, 0};
    ahead.by = int(ceil_div(ahead.rows * lines, tiles * x_.groups));
    for (int64_t i = m0; i < m1; i += p_.tile) {
      const int rows = int(std::min<int64_t>(p_.tile, m1 - i));
      with_count<Plan::kTile>(rows, [&]<int R>() {
        if (each()) tile<R, true>(i, n0, n1, codes, scale, ahead);
        else tile<R, false>(i, n0, n1, codes, scale, ahead);
      });
    }
  }

  // 16 rows of w to their place in a strip.
  void copy_block(int64_t n0, int64_t rows, uint8_t* to) const {
    const uint8_t* first = row_of_codes(a_.w, n0);
    for (int64_t at = 0; at < row_bytes(); at += kLine) {
      const int64_t bytes = std::min(kLine, row_bytes() - at);
      F r[kRows];
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i)
        r[i] = D::lanes(D::load_first(first + std::min<int64_t>(i, rows - 1) * w_pitch() + at, bytes));
      V::transpose(r);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        if (i * 4 >= bytes) break;
        const Line w = D::line(r[i]);
        if constexpr (kInt4) {  // of every four words the even k, then the odd ones
          uint8_t* even = to + (i / 4 * 8 + i % 4) * kStepBytes;
          D::store(even, D::low_four(w));
          D::store(even + 4 * kStepBytes, D::high_four(w));
        } else {
          D::store(to + i * kStepBytes, D::as_stored(w));
        }
      }
      to += bytes / kBytesOfGroup * kStepsOfGroup * kStepBytes;
    }
  }

  // The lines of the next strip, fetched a few at each group.
  struct Ahead {
    const uint8_t* row;
    int64_t rows, lines, pitch, r, line;
    int by;
    SLUICE_INLINE void fetch() {
      for (int i = 0; i < by && r < rows; ++i) {
        _mm_prefetch(row + line * kLine, _MM_HINT_T1);
        if (++line == lines) line = 0, row += pitch, ++r;
      }
    }
  };

  // Stores leave a core in order: without this each would wait for its line of y in turn.
  SLUICE_INLINE void expect_stores(int64_t m0, int rows, int64_t n0, int64_t n1) const {
    const int64_t size = int64_t(dtype_size(a_.y.dtype));
    for (int r = 0; r < rows; ++r) {
      const char* y = static_cast<const char*>(a_.y.data) + (m0 + r) * a_.y.stride[0] * size;
      for (int64_t at = n0 * size; at < n1 * size; at += kLine) __builtin_prefetch(y + at, 1);
      __builtin_prefetch(y + n1 * size - 1, 1);
    }
  }

  // R rows of x times a strip. kEach: every group has a scale of its own.
  template <int R, bool kEach>
  __attribute__((noinline)) void tile(int64_t m0, int64_t n0, int64_t n1, const uint8_t* w, const float* scale,
                                      Ahead& ahead) const {
    const int8_t* x = x_.codes_of(m0);
    const float* x_scale = x_.scale_of(m0);
    const int32_t* start = x_.start_of(m0);
    const int64_t groups_of_scale = x_.groups / scales();
    expect_stores(m0, R, n0, n1);
    F y[R][kBlocks], p[R][kBlocks];
    for (int r = 0; r < R; ++r)
      for (int b = 0; b < kBlocks; ++b) y[r][b] = p[r][b] = V::zero();
    for (int64_t j = 0; j < scales(); ++j, scale += kBlocks * kRows) {
      for (int64_t g = 0; g < (kEach ? 1 : groups_of_scale); ++g) {
        ahead.fetch();
        Sum sum[R][kBlocks];
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
          for (int b = 0; b < kBlocks; ++b) sum[r][b] = D::template begin<kInt4>(start[r]);
#pragma GCC unroll 8
        for (int s = 0; s < kStepsOfGroup; ++s, w += kStepBytes, x += 4 * Plan::kTile) {
          Line codes[kBlocks];
#pragma GCC unroll 2
          for (int b = 0; b < kBlocks; ++b) codes[b] = D::load(w + b * kLine);
#pragma GCC unroll 6
          for (int r = 0; r < R; ++r) {
            int32_t four;
            std::memcpy(&four, x + 4 * r, sizeof four);
            const Line some = D::set1(four);
#pragma GCC unroll 2
            for (int b = 0; b < kBlocks; ++b) sum[r][b] = D::dot(sum[r][b], codes[b], some);
          }
        }
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
          for (int b = 0; b < kBlocks; ++b) {
            const F whole = D::to_float(D::end(sum[r][b], start[r])), by = V::set1(x_scale[r]);
            const F term = V::mul(whole, by);  // no FMA: one row's terms are added to each other only after they were turned
            if constexpr (kEach) y[r][b] = V::add(V::mul(term, V::load(scale + b * kRows)), y[r][b]);
            else p[r][b] = V::add(term, p[r][b]);
          }
        x_scale += Plan::kTile, start += Plan::kTile;
      }
      if constexpr (!kEach)
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
          for (int b = 0; b < kBlocks; ++b) y[r][b] = V::fma(p[r][b], V::load(scale + b * kRows), y[r][b]), p[r][b] = V::zero();
    }
    visit_float(a_.y, [&]<class Y>(Y*) {
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int b = 0; b < kBlocks; ++b)
          if (const int64_t n = n0 + b * kRows; n < n1)
            V::store_n(a_.y.as<Y>() + (m0 + r) * a_.y.stride[0] + n, y[r][b], int(std::min<int64_t>(kRows, n1 - n)));
    });
  }

  const QuantMatmulArgs& a_;
  const Plan& p_;
  const Activations x_;
  std::byte* per_thread_;  // for each thread: scales, then a strip or the group sums of 16 rows
};

template <class D>
Status integer_matmul(Context& ctx, const QuantMatmulArgs& a, std::byte* scratch) {
  if (a.y.numel() == 0) return {};
  const IntegerPlan<D> plan(a, ctx.team->size());
  if (code_type(a.w) == CodeType::kInt4) IntegerMatmul<D, true>(a, plan, scratch).run(*ctx.team);
  else IntegerMatmul<D, false>(a, plan, scratch).run(*ctx.team);
  return {};
}

}  // namespace sluice
