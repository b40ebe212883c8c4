// The body of the vector forms: a row's scores in vectors, then its experts by a short sorted list that few keys enter.
#pragma once

#include <algorithm>

#include "core/simd.h"
#include "ops/moe_gate/forms.h"
#include "ops/moe_gate/score.h"

namespace sluice {

// A row in L1. Behind its experts, up to a multiple of kGateStrands: zeros, and keys that cannot be chosen.
struct MoeGateRow {
  alignas(64) float score[MoeGateArgs::kMostExperts], other[MoeGateArgs::kMostExperts];
  alignas(64) int32_t key[MoeGateArgs::kMostExperts];
  float chosen_score[kGateStrands];
  int32_t chosen_key[kGateStrands], chosen[kGateStrands];  // descending
};

SLUICE_INLINE int64_t moe_gate_padded(int64_t n) { return (n + kGateStrands - 1) / kGateStrands * kGateStrands; }

// Sum of n elements that zeros follow.
template <class V>
SLUICE_INLINE float moe_gate_sum(const float* x, int64_t n) {
  auto low = V::zero(), high = V::zero();
  for (int64_t d = 0; d < n; d += kGateStrands) low = V::add(low, V::load(x + d)), high = V::add(high, V::load(x + d + 16));
  return V::reduce_add(V::add(low, high));
}

template <class V, class X>
SLUICE_INLINE void moe_gate_sigmoids(const X* logits, int64_t n, float* s) {
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(s + d, moe_gate_sigmoid<V>(V::load_n(logits + d, lanes)), lanes);
  }
}

template <class V, class X>
SLUICE_INLINE void moe_gate_softmaxes(const X* logits, int64_t n, float* s, float* weight) {
  constexpr float kLowest = -std::numeric_limits<float>::max();
  const int64_t padded = moe_gate_padded(n);
  std::fill(s + n, s + padded, kLowest);
  std::fill(weight + n, weight + padded, 0.0f);
  auto most = V::set1(kLowest);
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(s + d, moe_gate_within<V>(V::load_n(logits + d, lanes)), lanes);
    most = V::max(most, moe_gate_finite<V>(V::load(s + d)));
  }
  const auto m = V::set1(V::reduce_max(most));
  for (int64_t d = 0; d < n; d += simd::kLanes) V::store_n(weight + d, moe_gate_weight<V>(V::load(s + d), m), simd::lanes_at(d, n));
  const auto sum = V::set1(moe_gate_sum<V>(weight, n));
  for (int64_t d = 0; d < n; d += simd::kLanes) V::store(s + d, moe_gate_softmax<V>(V::load(s + d), V::load(weight + d), sum));
}

// key[e] of score[e] + bias[e], or of the logits.
template <class V, class X>
SLUICE_INLINE void moe_gate_keys(const MoeGateArgs& a, const X* logits, int64_t n, MoeGateRow& row) {
  const bool by_logit = moe_gate_by_logit(a), biased = a.bias.present();
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    auto c = by_logit ? V::load_n(logits + d, lanes) : V::load_n(row.score + d, lanes);
    if (biased) c = V::add(c, V::load_n(a.bias.as<float>() + d, lanes));
    V::store(row.other + d, c);
  }
  for (int64_t d = 0; d < n; d += simd::kLanes)
    for (int i = 0; i < simd::kLanes; ++i) row.key[d + i] = moe_gate_key(row.other[d + i]);
  std::fill(row.key + n, row.key + moe_gate_padded(n), kGateExcluded);
}

// Puts an entry into a list of the `most` largest in descending order; among equals the earlier one stays in front.
SLUICE_INLINE void moe_gate_insert(int32_t key, int32_t id, int32_t* keys, int32_t* ids, int64_t most) {
  int64_t at = most - 1;
  for (; at > 0 && keys[at - 1] < key; --at) keys[at] = keys[at - 1], ids[at] = ids[at - 1];
  keys[at] = key, ids[at] = id;
}

// Excludes the experts of all groups but the best.
template <class V>
void moe_gate_exclude(const MoeGateArgs& a, int64_t n, MoeGateRow& row) {
  const int64_t size = n / a.n_group, groups = a.n_group;
  int32_t group_key[MoeGateArgs::kMostExperts];
  for (int64_t g = 0; g < groups; ++g) {
    int32_t first = kGateExcluded, second = kGateExcluded;
    for (const int32_t* key = row.key + g * size; key < row.key + (g + 1) * size; ++key)
      second = std::max(second, std::min(first, *key)), first = std::max(first, *key);
    group_key[g] = moe_gate_group_key(first, second);
  }
  for (int64_t g = 0; g < groups; ++g) {
    int64_t better = 0;
    for (int64_t i = 0; i < groups; ++i) better += group_key[i] > group_key[g] || (group_key[i] == group_key[g] && i < g);
    if (better >= a.topk_group) std::fill_n(row.key + g * size, size, kGateExcluded);
  }
}

template <class V>
void moe_gate_choose(int64_t n, int64_t top_k, MoeGateRow& row) {
  std::fill_n(row.chosen_key, top_k, kGateExcluded);
  int32_t least = kGateExcluded;  // of the chosen; a later one must be above it
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    int32_t most = kGateExcluded;
    for (int i = 0; i < simd::kLanes; ++i) most = std::max(most, row.key[d + i]);
    if (most <= least) continue;
    for (int64_t e = d; e < d + simd::kLanes; ++e)
      if (row.key[e] > least) {
        moe_gate_insert(row.key[e], int32_t(e), row.chosen_key, row.chosen, top_k);
        least = row.chosen_key[top_k - 1];
      }
  }
}

template <class V>
SLUICE_INLINE void moe_gate_store(const MoeGateArgs& a, int64_t n, MoeGateRow& row, float* weights, int32_t* ids) {
  std::fill_n(row.chosen_score, kGateStrands, 0.0f);
  for (int64_t i = 0; i < a.top_k; ++i) row.chosen_score[i] = row.score[row.chosen[i]], ids[i] = row.chosen[i];
  const auto sum = V::set1(moe_gate_sum<V>(row.chosen_score, kGateStrands));
  const auto divisor = moe_gate_divisor<V>(sum, a.renormalize), scale = V::set1(moe_gate_scale(a));
  for (int64_t i = 0; i < a.top_k; i += simd::kLanes)
    V::store_n(weights + i, V::mul(V::div(V::load(row.chosen_score + i), divisor), scale), simd::lanes_at(i, a.top_k));
  if (a.shared_expert) weights[a.top_k] = moe_gate_shared_weight(a), ids[a.top_k] = int32_t(n);
}

template <class V, class X>
void moe_gate_rows(Context& ctx, const MoeGateArgs& a) {
  const int64_t n = a.logits.dim(1);
  constexpr int64_t kGrain = 8;  // rows worth waking a thread for
  ctx.team->split(a.logits.dim(0), kGrain, [&](int64_t begin, int64_t end, int) {
    MoeGateRow row;
    for (int64_t t = begin; t < end; ++t) {
      const X* logits = a.logits.as<X>() + t * a.logits.stride[0];
      if (a.scoring == GateScoring::kSigmoid) moe_gate_sigmoids<V>(logits, n, row.score);
      else moe_gate_softmaxes<V>(logits, n, row.score, row.other);
      moe_gate_keys<V>(a, logits, n, row);
      if (a.topk_group < a.n_group) moe_gate_exclude<V>(a, n, row);
      moe_gate_choose<V>(n, a.top_k, row);
      moe_gate_store<V>(a, n, row, a.topk_weights.as<float>() + t * a.topk_weights.stride[0],
                        a.topk_ids.as<int32_t>() + t * a.topk_ids.stride[0]);
    }
  });
}

template <class V>
Status moe_gate_body(Context& ctx, const MoeGateArgs& a) {
  if (a.logits.dtype == DType::kBF16) moe_gate_rows<V, Bf16>(ctx, a);
  else moe_gate_rows<V, float>(ctx, a);
  return {};
}

}  // namespace sluice
