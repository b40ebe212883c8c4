// The convolution of one row: what causal_conv1d and its fusions share, so that they give the same bits.
#pragma once

#include <cstdint>

#include "core/rows.h"
#include "core/simd.h"

namespace sluice {

// Calls f.template operator()<W>() for the width, which check() has found to be 2, 3 or 4.
template <class F>
SLUICE_INLINE decltype(auto) visit_conv_width(int64_t width, F&& f) {
  if (width == 2) return f.template operator()<2>();
  if (width == 3) return f.template operator()<3>();
  return f.template operator()<4>();
}

template <class V, class To>
SLUICE_INLINE void fill_zero(To* to, int64_t n) {
  for (int64_t c = 0; c < n; c += simd::kLanes) V::store_n(to + c, V::zero(), simd::lanes_at(c, n));
}

// Taps straight from weight[c, w], f32 or bf16, without a bias: transposed in registers at every use, so for one or two rows.
template <int W, class Weight>
struct WeightTaps {
  const Weight* weight;

  // The taps of channels [c, c + n); returns the bias.
  template <class V>
  SLUICE_INLINE typename V::F load(int64_t c, int n, typename V::F (&tap)[W]) const {
    V::template load_columns<W>(weight + c * W, n, tap);
    return V::zero();
  }
};

// Taps transposed beforehand into fp32 rows of `pitch` channels, a multiple of 16: W rows of taps and one of the bias.
template <int W>
struct StagedTaps {
  static constexpr int kRows = W + 1;
  float* rows;
  int64_t pitch;

  // Channels [first, first + n) of weight [C, W] and bias [C], if there is one.
  template <class V>
  SLUICE_INLINE void stage(const Tensor& weight, const Tensor& bias, int64_t first, int64_t n) const {
    visit_float(weight, [&]<class T>(T*) {
      for (int64_t c = 0; c < n; c += simd::kLanes) {
        typename V::F tap[W];
        V::template load_columns<W>(weight.as<T>() + (first + c) * W, simd::lanes_at(c, n), tap);
#pragma GCC unroll 4
        for (int w = 0; w < W; ++w) V::store(rows + w * pitch + c, tap[w]);
      }
    });
    if (!bias.present()) return fill_zero<V>(rows + W * pitch, n);
    visit_float(bias, [&]<class T>(T*) { simd::convert<V>(bias.as<T>() + first, rows + W * pitch, n); });
  }
  template <class V>
  SLUICE_INLINE typename V::F load(int64_t c, int, typename V::F (&tap)[W]) const {
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) tap[w] = V::load(rows + w * pitch + c);
    return V::load(rows + W * pitch + c);
  }
};

// out[c] = act(bias[c] + tap_0[c] x_0[c] + tap_1[c] x_1[c] + ...) for c < n, summed in that order: oldest input first.
// input(w, c, lanes) gives channels [c, c + lanes) of the input that tap w multiplies.
template <class V, int W, class Taps, class Input, class Y>
SLUICE_INLINE void conv_row(const Taps& taps, const Input& input, int64_t n, bool silu, Y* out) {
  for (int64_t c = 0; c < n; c += simd::kLanes) {
    const int lanes = simd::lanes_at(c, n);
    typename V::F tap[W];
    auto sum = taps.template load<V>(c, lanes, tap);
#pragma GCC unroll 4  // keeps taps in registers at -O2
    for (int w = 0; w < W; ++w) sum = V::fma(tap[w], input(w, c, lanes), sum);
    V::store_n(out + c, silu ? simd::silu<V>(sum) : sum, lanes);
  }
}

}  // namespace sluice
