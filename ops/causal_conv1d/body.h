// The body of the vector forms. Threads take strips of channels: a strip's taps stay in L1 for all rows of all sequences, and one
// thread both reads and writes a strip's state, so nothing is overwritten before it is used.
#pragma once

#include <algorithm>

#include "ops/causal_conv1d/forms.h"
#include "ops/causal_conv1d/window.h"

namespace sluice {

// Channels of the widest strip: 2 KiB of an fp32 row. Measured: 128 channels make prefill 2.5 times slower, because rows lie a
// multiple of 4 KiB apart and short runs defeat the prefetchers; with 1024, taps and history (16 KiB here) begin to leave L1.
inline constexpr int64_t kConvStrip = 512;

// Row `row`, step w of conv_state or step_states, channels [first, first + n).
template <class V>
SLUICE_INLINE void load_state(const Tensor& state, int64_t row, int64_t w, int64_t first, int64_t n, float* to) {
  visit_float(state, [&]<class S>(S*) {
    const S* from = state.as<S>() + row * state.stride[0] + first * state.stride[1] + w * state.stride[2];
    if (state.stride[1] != 1) {
      for (int64_t c = 0; c < n; ++c) to[c] = float(from[c * state.stride[1]]);
      return;
    }
    simd::convert<V>(from, to, n);
  });
}

template <class V, class From>
SLUICE_INLINE void store_state(const From* from, const Tensor& state, int64_t row, int64_t w, int64_t first, int64_t n) {
  visit_float(state, [&]<class S>(S*) {
    S* to = state.as<S>() + row * state.stride[0] + first * state.stride[1] + w * state.stride[2];
    if (state.stride[1] != 1) {
      for (int64_t c = 0; c < n; ++c) to[c * state.stride[1]] = S(float(from[c]));
      return;
    }
    simd::convert<V>(from, to, n);
  });
}

// Channels [first, first + n) of one call.
template <class V, int W, class X, class Y>
class ConvStrip {
 public:
  SLUICE_INLINE ConvStrip(const CausalConv1dArgs& a, int64_t first, int64_t n)
      : a_(a), first_(first), n_(n), pitch_(a.x.stride[0]) {
    taps().template stage<V>(a.weight, a.bias, first, n);
  }

  SLUICE_INLINE void sequence(int64_t begin, int64_t end, int64_t slot, bool continues) {
    if (slot < 0) return padding(begin, end);
    for (int w = 0; w < W - 1; ++w) {
      if (continues) load_state<V>(a_.conv_state, slot, w, first_, n_, past_[w]);
      else fill_zero<V>(past_[w], n_);
    }
    x_ = a_.x.as<X>() + begin * pitch_ + first_;
    for (int64_t t = 0; t < end - begin; ++t) {
      row(t, a_.y.as<Y>() + (begin + t) * a_.y.stride[0] + first_);
      if (a_.step_states.present()) save(t + 1, a_.step_states, begin + t);
    }
    if (a_.update_state) save(end - begin, a_.conv_state, slot);
  }

 private:
  SLUICE_INLINE StagedTaps<W> taps() { return {taps_, kConvStrip}; }

  // Row t of the sequence.
  SLUICE_INLINE void row(int64_t t, Y* y) {
    const int64_t pitch = pitch_;
    if (t < W - 1) {
      const auto input = [&](int w, int64_t c, int lanes) {
        const int64_t i = t - (W - 1) + w;
        return i < 0 ? V::load_n(past_[i + W - 1] + c, lanes) : V::load_n(x_ + i * pitch + c, lanes);
      };
      return conv_row<V, W>(taps(), input, n_, a_.silu, y);
    }
    const X* oldest = x_ + (t - (W - 1)) * pitch;
    const auto input = [=](int w, int64_t c, int lanes) { return V::load_n(oldest + w * pitch + c, lanes); };
    conv_row<V, W>(taps(), input, n_, a_.silu, y);
  }

  // The last inputs after `tokens` rows of the sequence.
  SLUICE_INLINE void save(int64_t tokens, const Tensor& state, int64_t row) {
    for (int w = 0; w < W - 1; ++w) {
      const int64_t i = tokens - (W - 1) + w;
      if (i < 0) store_state<V>(past_[i + W - 1], state, row, w, first_, n_);
      else store_state<V>(x_ + i * pitch_, state, row, w, first_, n_);
    }
  }

  SLUICE_INLINE void padding(int64_t begin, int64_t end) {
    fill_zero<V>(past_[0], n_);
    for (int64_t t = begin; t < end; ++t) {
      fill_zero<V>(a_.y.as<Y>() + t * a_.y.stride[0] + first_, n_);
      for (int w = 0; a_.step_states.present() && w < W - 1; ++w) store_state<V>(past_[0], a_.step_states, t, w, first_, n_);
    }
  }

  const CausalConv1dArgs& a_;
  const int64_t first_, n_, pitch_;
  const X* x_ = nullptr;  // first row of the sequence
  alignas(64) float taps_[StagedTaps<W>::kRows * kConvStrip];
  alignas(64) float past_[W - 1][kConvStrip];
};

template <class V, int W, class X, class Y>
void conv_strips(Context& ctx, const CausalConv1dArgs& a) {
  const int64_t T = a.x.shape[0], C = a.x.shape[1], B = a.slots.shape[0];
  const auto *cu = a.cu_seqlens.as<int32_t>(), *slots = a.slots.as<int32_t>();
  const auto* has_state = a.has_state.present() ? a.has_state.as<int32_t>() : nullptr;
  // As many strips as a multiple of the team, so that nobody has one more than the others; whole vectors.
  const int64_t team = ctx.team->size(), strips = (C + kConvStrip * team - 1) / (kConvStrip * team) * team;
  const int64_t width = ((C + strips - 1) / std::max<int64_t>(strips, 1) + simd::kLanes - 1) / simd::kLanes * simd::kLanes;
  const int64_t grain = 4096 / std::max<int64_t>(width * T, 1) + 1;  // 4096 elements or more are worth waking a thread for
  ctx.team->split(strips, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t first = begin * width; first < std::min(end * width, C); first += width) {
      ConvStrip<V, W, X, Y> strip(a, first, std::min(width, C - first));
      for (int64_t b = 0; b < B; ++b) strip.sequence(cu[b], cu[b + 1], slots[b], !has_state || has_state[b] != 0);
    }
  });
}

template <class V>
Status causal_conv1d_body(Context& ctx, const CausalConv1dArgs& a) {
  visit_conv_width(a.weight.shape[1], [&]<int W>() {
    visit_float(a.x, [&]<class X>(X*) { visit_float(a.y, [&]<class Y>(Y*) { conv_strips<V, W, X, Y>(ctx, a); }); });
  });
  return {};
}

}  // namespace sluice
