// One row of qkv_conv_split, in pieces that decode (gdn_step) uses too: the bits follow from these functions alone.
//
//   const ConvRing ring(a.conv_ring, slot);
//   const float* past[W - 1];                                     oldest first; null reads as zeros
//   ring.past<W>(position, first_channel, past);
//   conv_silu_row<V, W>(past, x, weight + first_channel * W, channels, out);
//   l2norm_scale<V>(out, K, eps) ...                              q and k only, ops/l2norm/body.h
//   gates_row<V>({a, b, A_log, dt_bias, allow_neg_eigval}, row, first_head, heads, log_g, beta);
#pragma once

#include "core/simd.h"
#include "core/tensor.h"
#include "ops/causal_conv1d/window.h"

namespace sluice {

// The convolution's inputs of the last R positions of one sequence: position p lies in row p % R.
class ConvRing {
 public:
  SLUICE_INLINE ConvRing(const Tensor& conv_ring, int64_t slot)  // [S, R, C] f32, R a power of two
      : rows_(conv_ring.as<float>() + slot * conv_ring.stride[0]), pitch_(conv_ring.stride[1]), mask_(conv_ring.shape[1] - 1) {}

  SLUICE_INLINE float* row(int64_t position) const { return rows_ + (position & mask_) * pitch_; }

  // The W - 1 rows before `position`, oldest first, from channel `first` on; null where the position is below 0.
  template <int W>
  SLUICE_INLINE void past(int64_t position, int64_t first, const float** rows) const {
    for (int w = 0; w < W - 1; ++w) {
      const int64_t p = position - (W - 1) + w;
      rows[w] = p < 0 ? nullptr : row(p) + first;
    }
  }

 private:
  float* rows_;
  int64_t pitch_, mask_;
};

// out[c] = silu(sum_w weight[c * W + w] * x_w[c]) for c < n, where x_w is past[w] and, for w = W - 1, x.
// `weight`, f32 or bf16, begins at the range's first channel.
template <class V, int W, class X, class Weight>
SLUICE_INLINE void conv_silu_row(const float* const* past, const X* x, const Weight* weight, int64_t n, float* out) {
  const auto input = [&](int w, int64_t c, int lanes) {
    if (w == W - 1) return V::load_n(x + c, lanes);
    return past[w] ? V::load_n(past[w] + c, lanes) : V::zero();
  };
  conv_row<V, W>(WeightTaps<W, Weight>{weight}, input, n, /*silu=*/true, out);
}

struct GateInputs {
  const Tensor &a, &b;            // [T, HV]
  const Tensor &A_log, &dt_bias;  // [HV]
  bool allow_neg_eigval;
};

// Lanes [at, at + n) of a tensor's memory, f32 or bf16.
template <class V>
SLUICE_INLINE typename V::F load_float_n(const Tensor& t, int64_t at, int n) {
  return t.dtype == DType::kBF16 ? V::load_n(t.as<Bf16>() + at, n) : V::load_n(t.as<float>() + at, n);
}

// The gates of heads [first, first + n) of one row, to log_g[0..n) and beta[0..n). The formula of ops/gating.
template <class V>
SLUICE_INLINE void gates_row(const GateInputs& g, int64_t row, int64_t first, int64_t n, float* log_g, float* beta) {
  for (int64_t h = 0; h < n; h += simd::kLanes) {
    const int lanes = simd::lanes_at(h, n);
    const auto a = load_float_n<V>(g.a, row * g.a.stride[0] + first + h, lanes);
    const auto b = load_float_n<V>(g.b, row * g.b.stride[0] + first + h, lanes);
    const auto rate = simd::exp<V>(load_float_n<V>(g.A_log, first + h, lanes));
    const auto step = simd::softplus<V>(V::add(a, load_float_n<V>(g.dt_bias, first + h, lanes)));
    const auto write = simd::sigmoid<V>(b);
    V::store_n(log_g + h, V::mul(V::sub(V::zero(), rate), step), lanes);
    V::store_n(beta + h, g.allow_neg_eigval ? V::add(write, write) : write, lanes);
  }
}

}  // namespace sluice
