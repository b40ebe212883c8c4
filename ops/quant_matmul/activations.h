// x as the forms multiply it: quantised for int8 and int4, in the order in which a form finds the codes of w.
#pragma once

#include <algorithm>
#include <limits>

#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd.h"
#include "ops/quant_matmul/quant_matmul.h"

namespace sluice {

// Of a group of 32: its codes, their sum, and its scale, which is NaN where something is not finite.
struct GroupCodes {
  int8_t q[kQuantGroup];
  int32_t sum;
  float scale;
};

// What an instruction set may have better ways for.
template <class V>
struct GroupParts {
  static SLUICE_INLINE bool finite(typename V::F a, typename V::F b) {
    const float none = V::reduce_add(V::fma(a, V::zero(), V::mul(b, V::zero())));  // 0, or NaN
    return none == 0;
  }
  static SLUICE_INLINE int32_t sum(const int8_t* q) {
    int32_t sum = 0;
    for (int i = 0; i < kQuantGroup; ++i) sum += q[i];
    return sum;
  }
  // Codes of even k, then those of odd k.
  static SLUICE_INLINE void even_first(int8_t* q) {
    int8_t in_order[kQuantGroup];
    std::memcpy(in_order, q, kQuantGroup);
    for (int i = 0; i < kQuantGroup / 2; ++i) q[i] = in_order[2 * i], q[kQuantGroup / 2 + i] = in_order[2 * i + 1];
  }
};

template <class V, class X>
SLUICE_INLINE GroupCodes quantise_group(const X* x) {
  const auto a = V::load(x), b = V::load(x + simd::kLanes);
  const float most = V::reduce_max(V::max(V::abs(a), V::abs(b))), by = most / 127.0f;
  const auto divisor = V::set1(by == 0 ? 1.0f : by);  // what is so small has codes 0 either way
  GroupCodes c;
  c.scale = GroupParts<V>::finite(a, b) ? by : std::numeric_limits<float>::quiet_NaN();
  V::store(c.q, V::div(a, divisor)), V::store(c.q + simd::kLanes, V::div(b, divisor));
  c.sum = GroupParts<V>::sum(c.q);
  return c;
}

// Rows of codes, and for each group of 32 its scale and the number at which its sum begins: codes of w are multiplied as what is
// stored plus some offset, and minus offset * (sum of the group's codes of x) takes that back. Exact, like the sum.
//
//   codes         [tile of rows][four k][row of the tile][4]
//   scale, start  [tile of rows][group][row of the tile]
//
// Of int8 a row's codes are in order of k. Of int4 every 32, or every 128, are those of even k, then those of odd k, as the
// lower and the upper halves of 16 bytes, or 64, of w are. Zeros up to a multiple of 512.
struct Activations {
  static constexpr int64_t kPadding = 512;  // sixteen groups

  int64_t tile;           // rows
  int64_t pitch, groups;  // of a row: bytes of codes, groups
  int64_t even;           // neighbouring codes of even k; 0: all in order
  int offset;
  int8_t* codes;
  float* scale;
  int32_t* start;

  static size_t bytes(int64_t rows, int64_t k, int64_t tile) {
    return size_t(round_up(round_up(rows, tile) * (round_up(k, kPadding) + k / kQuantGroup * 8), kCacheLine));
  }
  Activations(std::byte* memory, const QuantMatmulArgs& a, int64_t tile, int offset, bool even_by_64 = false)
      : tile(tile),
        pitch(round_up(a.x.shape[1], kPadding)),
        groups(a.x.shape[1] / kQuantGroup),
        even(code_type(a.w) != CodeType::kInt4 ? 0
             : even_by_64                      ? 64
                                               : 16),
        offset(offset),
        codes(reinterpret_cast<int8_t*>(memory)),
        scale(reinterpret_cast<float*>(codes + round_up(a.x.shape[0], tile) * pitch)),
        start(reinterpret_cast<int32_t*>(scale + round_up(a.x.shape[0], tile) * groups)) {}

  // Of a row that begins a tile.
  const int8_t* codes_of(int64_t m) const { return codes + m * pitch; }
  const float* scale_of(int64_t m) const { return scale + m * groups; }
  const int32_t* start_of(int64_t m) const { return start + m * groups; }

  // Rows [begin, end) of x.
  template <class V>
  void quantise(const Tensor& x, int64_t begin, int64_t end) const {
    visit_float(x, [&]<class X>(X*) {
      for (int64_t m = begin; m < end; ++m) {
        for (int64_t g = 0; g < groups; ++g) keep<V>(quantise_group<V>(x.as<X>() + m * x.stride[0] + g * kQuantGroup), m, g);
        for (int64_t g = groups; g < pitch / kQuantGroup; ++g) put(GroupCodes{}, m, g);
      }
    });
  }

 private:
  template <class V>
  SLUICE_INLINE void keep(GroupCodes c, int64_t m, int64_t g) const {
    const int64_t at = (m / tile * groups + g) * tile + m % tile;
    scale[at] = c.scale;
    start[at] = -offset * c.sum;
    if (even) GroupParts<V>::even_first(c.q);
    put(c, m, g);
  }
  SLUICE_INLINE void put(const GroupCodes& c, int64_t m, int64_t g) const {
    constexpr int kHalf = kQuantGroup / 2;
    if (tile == 1) {
      for (int i = 0; i < kQuantGroup; i += kHalf) std::memcpy(codes + m * pitch + place(g, i), c.q + i, kHalf);
    } else {
      for (int i = 0; i < kQuantGroup; i += 4) std::memcpy(at_four(m, place(g, i)), c.q + i, 4);
    }
  }
  // Of the i-th code of a group in its own order.
  int64_t place(int64_t g, int64_t i) const {
    if (even != 64) return g * kQuantGroup + i;
    constexpr int64_t kHalf = kQuantGroup / 2;
    return g / 4 * 128 + i / kHalf * 64 + g % 4 * kHalf + i % kHalf;
  }
  int8_t* at_four(int64_t m, int64_t k) const { return codes + m / tile * tile * pitch + k * tile + m % tile * 4; }
};

}  // namespace sluice
