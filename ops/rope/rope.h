// rope: rotary position embedding (Su et al., "RoFormer", 2021) on the first rotary_dim dims of each head; the rest is copied.
//
//   pair i of token t turns by angle = position(t, axis of pair i) * inv_freq[i]
//   half-split ("neox"): pair i is dims (i, i + rotary_dim/2);  interleaved: dims (2i, 2i+1)
//   mrope (Qwen-VL): positions are [3, T] (time, height, width); with interleaved sections pair i takes height where i % 3 == 1 and
//   i < 3 * section[1], width where i % 3 == 2 and i < 3 * section[2], else time. For text the three are equal.
//
// Angles are formed in fp64 and reduced before the fp32 sine and cosine, so they hold at any position.
// Tolerance: fp32 rel_rms 2e-5, max_rel 1e-4 at positions up to 1000; bf16 5e-3, 2e-2.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "core/impl.h"
#include "core/tensor.h"

namespace sluice {

enum class RopeStyle : unsigned char { kHalfSplit, kInterleaved };

struct RopeArgs {
  Tensor q;          // [T, HQ, D] f32 or bf16, stride free but in the last dimension; optional if k is there
  Tensor k;          // [T, HKV, D] likewise, optional if q is there
  Tensor positions;  // [T] i32, or [3, T] i32 for mrope
  Tensor inv_freq;   // [rotary_dim / 2] f64, from rope_frequencies()
  Tensor q_out;      // as q, f32 or bf16; may be q itself
  Tensor k_out;      // as k; may be k itself
  RopeStyle style = RopeStyle::kHalfSplit;
  std::array<int, 3> mrope_section{};  // pairs of each axis, interleaved; only read with [3, T] positions
  float cos_sin_factor = 1;            // yarn's scale on cosine and sine; 1 otherwise
};

template <class F>
void each_tensor(RopeArgs& a, F&& f) {
  f(a.q), f(a.k), f(a.positions), f(a.inv_freq), f(a.q_out), f(a.k_out);
}

// YaRN (Peng et al., 2023) as DeepSeek publishes it. factor == 1 means none.
struct RopeScaling {
  double factor = 1, original_max_position = 0, beta_fast = 32, beta_slow = 1, mscale = 1, mscale_all_dim = 0;
};

// inv_freq[i] = theta^(-2i / rotary_dim), blended by yarn where a scaling is given.
std::vector<double> rope_frequencies(double theta, int rotary_dim, const RopeScaling& scaling = {});
// What yarn puts on cosine and sine: m(mscale) / m(mscale_all_dim), m(s) = 0.1 s ln(factor) + 1.
double rope_cos_sin_factor(const RopeScaling& scaling);
// What yarn multiplies the softmax scale with: m(mscale_all_dim)^2.
double rope_softmax_factor(const RopeScaling& scaling);

Status check_rope(const RopeArgs& a);
std::span<const Impl<RopeArgs>> rope_impls();
Status rope(Context& ctx, const RopeArgs& a);

}  // namespace sluice
