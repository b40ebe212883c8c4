// The body of the vector forms: a row of sums in L1, to which a token's states are added one after another. What there is but one
// of a row, logarithms and the sum of weights, is computed in fp64, so that a base costs no accuracy.
#pragma once

#include <algorithm>
#include <bit>

#include "core/simd.h"
#include "ops/merge_state/forms.h"
#include "ops/merge_state/states.h"

namespace sluice {

// The natural logarithm of 0 or of x >= 1, from the power of two below it; NaN stays NaN.
template <class V>
SLUICE_INLINE double merge_state_log(double x) {
  constexpr int kMantissa = 52, kBias = 1023;
  if (x == 0) return kNoKeys;
  if (x != x) return x;
  const auto bits = std::bit_cast<uint64_t>(x);
  const double unit = std::bit_cast<double>((bits & ((uint64_t(1) << kMantissa) - 1)) | uint64_t(kBias) << kMantissa);
  return kLn2 * (int(bits >> kMantissa) - kBias) + simd::log1p_unit<V>(V::set1(float(unit - 1)))[0];
}

template <class V, class X>
SLUICE_INLINE void merge_state_add(const X* v, float weight, float* sums, int64_t n) {
  const auto w = V::set1(weight);
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store(sums + d, V::fma(w, V::load_n(v + d, lanes), V::load(sums + d)));
  }
}

// Adds the states from `first` on, as many as a vector has lanes; gives the sum of their weights.
template <class V, class X>
SLUICE_INLINE double merge_state_add_group(const TokenStates& states, int64_t first, double shift, float* sums, int64_t n) {
  float weight[simd::kLanes];
  const int lanes = simd::lanes_at(first, states.count());
  for (int i = 0; i < lanes; ++i) weight[i] = float(states.lse(first + i) - shift);
  V::store_n(weight, simd::exp<V>(V::load_n(weight, lanes)), lanes);
  double total = 0;
  for (int i = 0; i < lanes; ++i) {
    total += weight[i];
    if (weight[i] != 0) merge_state_add<V>(states.v<X>(first + i), weight[i] * states.scale(first + i), sums, n);
  }
  return total;
}

template <class V, class Y>
SLUICE_INLINE void merge_state_store(const float* sums, float scale, Y* out, int64_t n) {
  for (int64_t d = 0; d < n; d += simd::kLanes)
    V::store_n(out + d, V::mul(V::load(sums + d), V::set1(scale)), simd::lanes_at(d, n));
}

template <class V, class X, class Y>
SLUICE_INLINE void merge_state_row(const TokenStates& states, float* sums, int64_t n) {
  double most = kNoKeys, total = 0;
  for (int64_t i = 0; i < states.count(); ++i) most = std::max(most, states.lse(i));
  const double shift = most == kNoKeys ? 0 : most;  // no difference of infinities
  std::fill_n(sums, merge_state_scratch_row(n), 0.0f);
  for (int64_t i = 0; i < states.count(); i += simd::kLanes) total += merge_state_add_group<V, X>(states, i, shift, sums, n);
  merge_state_store<V>(sums, total == 0 ? 0.0f : float(1 / (total * states.out_scale())), states.out<Y>(), n);
  states.put_lse(shift + merge_state_log<V>(total));
}

template <class V>
Status merge_state_body(Context& ctx, const MergeStateArgs& args, std::byte* scratch) {
  const int64_t T = args.out.v.dim(0), H = args.out.v.dim(1), D = args.out.v.dim(2);
  const int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(D, 1));  // elements worth waking a thread for
  visit_partial(args.a.v, [&]<class X>(X*) {
    visit_value(args.out.v, [&]<class Y>(Y*) {
      ctx.team->split(T * H, grain, [&](int64_t begin, int64_t end, int thread) {
        float* sums = reinterpret_cast<float*>(scratch) + thread * merge_state_scratch_row(D);
        for (int64_t r = begin; r < end; ++r) merge_state_row<V, X, Y>(TokenStates(args, r / H, r % H), sums, D);
      });
    });
  });
  return {};
}

}  // namespace sluice
