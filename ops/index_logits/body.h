// The body of the vector forms: sixteen keys side by side in the lanes, an element of a query for all of them, a few heads at a
// time. No sum crosses lanes: a logit's order is that of the dimensions, then of the heads.
#pragma once

#include <algorithm>
#include <limits>

#include "core/simd.h"
#include "ops/index_logits/forms.h"
#include "ops/index_logits/keys.h"
#include "ops/index_logits/types.h"

namespace sluice {

inline constexpr int64_t kKeysOfItem = 512;  // of a token, worth widening its queries for

// Columns of `to`, [dim][16], from the rows of up to sixteen keys; zeros for the others.
template <class V, class X>
SLUICE_INLINE void index_logits_load_keys(const X* const (&rows)[simd::kLanes], int count, int64_t dim, float* to) {
  for (int64_t d = 0; d < dim; d += simd::kLanes) {
    typename V::F block[simd::kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < simd::kLanes; ++i) block[i] = i < count ? V::load(rows[i] + d) : V::zero();
    V::transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < simd::kLanes; ++i) V::store(to + (d + i) * simd::kLanes, block[i]);
  }
}

// sum + weights . relu(q k) of kHeads neighbouring heads.
template <class V, int kHeads>
SLUICE_INLINE typename V::F index_logits_add_heads(const float* q, const float* weights, const float* keys, int64_t dim,
                                                   typename V::F sum) {
  typename V::F dot[kHeads];
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) dot[h] = V::zero();
  for (int64_t d = 0; d < dim; ++d) {
    const auto k = V::load(keys + d * simd::kLanes);
#pragma GCC unroll 8
    for (int h = 0; h < kHeads; ++h) dot[h] = V::fma(V::set1(q[h * dim + d]), k, dot[h]);
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHeads; ++h) sum = V::fma(V::set1(weights[h]), V::max(V::zero(), dot[h]), sum);
  return sum;
}

// Logits of `count` keys from `first` on, all seen by the token.
template <class V, class X>
SLUICE_INLINE void index_logits_keys(const IndexLogits& p, int64_t token, int64_t first, int count, int64_t dim, const float* q,
                                     float* keys) {
  const X* rows[simd::kLanes] = {};
  float scales[simd::kLanes] = {};
  for (int i = 0; i < count; ++i) {
    const int32_t page = p.keys.page_of(p.sequence(token), first + i);
    rows[i] = reinterpret_cast<const X*>(p.keys.row(page, first + i));
    const float* scale = p.keys.scale(page, first + i);
    scales[i] = scale ? *scale : 1.0f;
  }
  index_logits_load_keys<V>(rows, count, dim, keys);
  const float* weights = p.weights + token * p.weights_row;
  auto sum = V::zero();
  int64_t h = 0;
  constexpr int kHeads = V::kRegisters < 16 ? V::kRegisters / 2 : 8;
  for (; h + kHeads <= p.heads; h += kHeads) sum = index_logits_add_heads<V, kHeads>(q + h * dim, weights + h, keys, dim, sum);
  for (; h < p.heads; ++h) sum = index_logits_add_heads<V, 1>(q + h * dim, weights + h, keys, dim, sum);
  V::store_n(p.logits + token * p.logits_row + first, V::mul(sum, V::load(scales)), count);
}

// Columns [first, last) of a token.
template <class V, class X>
SLUICE_INLINE void index_logits_columns(const IndexLogits& p, int64_t token, int64_t first, int64_t last, int64_t dim, float* q,
                                        float* keys) {
  const KeyRange seen = p.seen(token);
  const int64_t begin = std::clamp(seen.begin, first, last), end = std::clamp(seen.end, begin, last);
  float* logits = p.logits + token * p.logits_row;
  if (p.clean) {
    for (int64_t j = first; j < begin; ++j) logits[j] = -std::numeric_limits<float>::infinity();
    for (int64_t j = end; j < last; ++j) logits[j] = -std::numeric_limits<float>::infinity();
  }
  if (begin == end) return;
  for (int64_t h = 0; h < p.heads; ++h)
    simd::convert<V>(reinterpret_cast<const X*>(p.q + token * p.q_row + h * p.q_head), q + h * dim, dim);
  for (int64_t j = begin; j < end; j += simd::kLanes) index_logits_keys<V, X>(p, token, j, simd::lanes_at(j, end), dim, q, keys);
}

template <class V>
Status index_logits_body(Context& ctx, const IndexLogitsArgs& args, std::byte* scratch) {
  const IndexLogits p(args);
  const int64_t D = args.q.dim(2), items = (p.width + kKeysOfItem - 1) / kKeysOfItem;
  visit_index_type(args.q.dtype, [&]<class X>(X*) {
    ctx.team->split(p.tokens * items, 1, [&](int64_t begin, int64_t end, int thread) {
      float* q = reinterpret_cast<float*>(scratch) + thread * index_logits_scratch(p.heads, D);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % items * kKeysOfItem;
        index_logits_columns<V, X>(p, i / items, first, std::min(first + kKeysOfItem, p.width), D, q, q + p.heads * D);
      }
    });
  });
  return {};
}

}  // namespace sluice
