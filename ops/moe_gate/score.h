// The score of an expert: one expression for the reference, the vector forms and the kernels, over a type of arithmetic V that has
// add, mul, ... of its F. A product is rounded before it is added to, so that instruction sets with and without a fused
// multiply-add agree. And how scores are ordered: as integers.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/moe_gate/moe_gate.h"

#ifdef __CUDACC__
#define SLUICE_GATE_FUNCTION __device__ inline
#else
#define SLUICE_GATE_FUNCTION inline __attribute__((always_inline))
#endif

namespace sluice {

// Sums over a row run over this many strands, element e in strand e % 32 and in rising order; then strands 16 apart are added, then
// 8, 4, 2 and 1: a warp of a GPU, or two vectors.
inline constexpr int kGateStrands = 32;

// e^x for x <= 88; 0 below -104; NaN stays NaN. As simd::exp (Cephes expf, S. Moshier), 2 ulp too.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_exp(typename V::F x) {
  using F = typename V::F;
  const auto c = [](float value) { return V::set1(value); };
  const F to_integer = c(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to an integer
  x = V::max(c(-104.0f), x);
  const F n = V::sub(V::add(V::mul(x, c(1.44269504088896341f)), to_integer), to_integer);
  F r = V::sub(x, V::mul(n, c(0.693359375f)));
  r = V::sub(r, V::mul(n, c(-2.12194440e-4f)));
  F p = V::add(V::mul(c(1.9875691500e-4f), r), c(1.3981999507e-3f));
  p = V::add(V::mul(p, r), c(8.3334519073e-3f));
  p = V::add(V::mul(p, r), c(4.1665795894e-2f));
  p = V::add(V::mul(p, r), c(1.6666665459e-1f));
  p = V::add(V::mul(p, r), c(5.0000001201e-1f));
  p = V::add(V::mul(p, V::mul(r, r)), V::add(r, c(1.0f)));
  return V::scale_by_power_of_2(p, n);
}

// 1 / (1 + e^-x), where x counts as at least -87: so low, 1.6e-38 and 0 are the same to a gate, and the divisor is one whose
// reciprocal a GPU rounds without a branch.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_sigmoid(typename V::F logit) {
  const auto minus_logit = V::min(V::set1(87.0f), V::sub(V::set1(0.0f), logit));
  const auto divisor = V::add(V::set1(1.0f), moe_gate_exp<V>(minus_logit));
  if constexpr (requires { V::reciprocal(divisor); }) return V::reciprocal(divisor);
  else return V::div(V::set1(1.0f), divisor);
}

// A logit of a softmax within the finite numbers; NaN stays NaN.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_within(typename V::F logit) {
  constexpr float kMost = std::numeric_limits<float>::max();
  return V::min(V::set1(kMost), V::max(V::set1(-kMost), logit));
}
// The same with NaN as the lowest: of these the largest is m.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_finite(typename V::F within) {
  return V::max(within, V::set1(-std::numeric_limits<float>::max()));
}
// What is summed.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_weight(typename V::F within, typename V::F m) {
  return moe_gate_exp<V>(V::sub(moe_gate_finite<V>(within), m));
}
// A softmax' share of the sum.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_softmax(typename V::F within, typename V::F weight, typename V::F sum) {
  const auto nan_or_zero = V::sub(within, within);
  return V::add(V::div(weight, sum), nan_or_zero);
}

// The divisor of the chosen scores: their sum s, strands as above.
template <class V>
SLUICE_GATE_FUNCTION typename V::F moe_gate_divisor(typename V::F s, bool renormalize) {
  return renormalize ? V::add(s, V::set1(1e-20f)) : V::set1(1.0f);
}

// An integer that rises with x: NaN lowest, +0 and -0 the same. Below all: what cannot be chosen.
inline constexpr int32_t kGateExcluded = std::numeric_limits<int32_t>::min(), kGateNan = kGateExcluded + 1;

SLUICE_GATE_FUNCTION int32_t moe_gate_key(float x) {
  const auto bits = std::bit_cast<int32_t>(x + 0.0f);  // -0 becomes +0
  return x != x ? kGateNan : bits < 0 ? bits ^ 0x7fffffff : bits;
}
// The number that has this key.
SLUICE_GATE_FUNCTION float moe_gate_value(int32_t key) { return std::bit_cast<float>(key < 0 ? key ^ 0x7fffffff : key); }
// Of a group, from the keys of its two best experts; kGateExcluded stands for one that it does not have.
SLUICE_GATE_FUNCTION int32_t moe_gate_group_key(int32_t first, int32_t second) {
  const int32_t sum = moe_gate_key(moe_gate_value(first) + moe_gate_value(second));
  return second > kGateNan ? sum : second == kGateNan ? kGateNan : first;
}

// Experts are chosen by their logits.
inline bool moe_gate_by_logit(const MoeGateArgs& a) {
  return a.scoring == GateScoring::kSoftmax && !a.bias.present() && a.topk_group == a.n_group;
}
inline float moe_gate_scale(const MoeGateArgs& a) { return a.scale_weights ? a.routed_scaling : 1; }
inline float moe_gate_shared_weight(const MoeGateArgs& a) { return a.scale_weights ? 1 : 1 / a.routed_scaling; }

}  // namespace sluice
