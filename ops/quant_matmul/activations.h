// x as the forms multiply it: quantised for int8 and int4, in the order in which a form finds the codes of w.
#pragma once

#include <algorithm>

#include "core/buffer.h"
#include "core/rows.h"
#include "core/simd.h"
#include "ops/quant_matmul/quant_matmul.h"

namespace sluice {

// Rows of codes, and for each group of 32 its scale and the number at which its sum begins: codes of w are multiplied as what is
// stored plus some offset, and minus offset * (sum of the group's codes of x) takes that back. Exact, like the sum.
//
// Of int8 a row lies in order of k. Of int4 every 32 codes are those of even k, then those of odd k, as the lower and the upper
// halves of 16 bytes of w are. Zeros up to a multiple of 128.
struct Activations {
  static constexpr int64_t kPadding = 128;  // weights in 64 bytes of int4

  int64_t pitch, groups;  // of a row: bytes of codes, groups
  int8_t* codes;
  float* scale;
  int32_t* start;

  static size_t bytes(int64_t rows, int64_t k) {
    return size_t(round_up(rows * (round_up(k, kPadding) + k / kQuantGroup * 8), kCacheLine));
  }
  Activations(std::byte* memory, int64_t rows, int64_t k)
      : pitch(round_up(k, kPadding)),
        groups(k / kQuantGroup),
        codes(reinterpret_cast<int8_t*>(memory)),
        scale(reinterpret_cast<float*>(codes + rows * pitch)),
        start(reinterpret_cast<int32_t*>(scale + rows * groups)) {}
};

// One group. `offset`: of the codes of w. Returns the scale.
template <class V, class X>
SLUICE_INLINE float quantise_group(const X* x, bool even_first, int offset, int8_t* codes, int32_t& start) {
  const auto a = V::load(x), b = V::load(x + simd::kLanes);
  const auto none = V::fma(a, V::zero(), V::mul(b, V::zero()));  // 0, or NaN where something is not finite
  const float most = V::reduce_max(V::max(V::abs(a), V::abs(b))), scale = most / 127.0f;
  int8_t in_order[kQuantGroup];
  const auto by = V::set1(scale == 0 ? 1.0f : scale);  // most below 2^-143 gives zeros either way
  V::store(in_order, V::div(a, by)), V::store(in_order + simd::kLanes, V::div(b, by));
  int sum = 0;
  for (int i = 0; i < kQuantGroup; ++i) sum += in_order[i];
  start = -offset * sum;
  if (even_first)
    for (int i = 0; i < kQuantGroup; ++i) codes[i] = in_order[i % 16 * 2 + i / 16];
  else std::memcpy(codes, in_order, sizeof in_order);
  return scale + V::reduce_add(none);
}

// Rows [begin, end) of x.
template <class V>
void quantise_rows(const QuantMatmulArgs& a, int offset, int64_t begin, int64_t end, const Activations& to) {
  const bool even_first = code_type(a.w) == CodeType::kInt4;
  const Rows rows(a.x);
  visit_float(a.x, [&]<class X>(X*) {
    for (int64_t m = begin; m < end; ++m) {
      const X* x = rows.row<X>(m);
      int8_t* codes = to.codes + m * to.pitch;
      for (int64_t g = 0; g < to.groups; ++g)
        to.scale[m * to.groups + g] =
            quantise_group<V>(x + g * kQuantGroup, even_first, offset, codes + g * kQuantGroup, to.start[m * to.groups + g]);
      std::memset(codes + rows.length(), 0, size_t(to.pitch - rows.length()));
    }
  });
}

}  // namespace sluice
