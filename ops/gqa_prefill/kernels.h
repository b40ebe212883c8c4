// The three steps of attention over one block of at most 64 keys, for R rows at a time: scores, softmax, weighted sum.
//
// For every (row, key): one order over D. For every (row, output): keys ascending. For every row: one tree over the block. None
// depends on R, which only says how many rows share a load.
#pragma once

#include "core/buffer.h"
#include "ops/gqa_prefill/lanes.h"
#include "ops/gqa_prefill/plan.h"

namespace sluice {

// Keys and values of one head: 64 readable rows, each from its column on, and how many rows there are (the rest repeat).
template <class X>
struct GqaKeys {
  const X *const *k, *const *v;
  int64_t k_column, v_column;
  int count;
};

// Rows [begin, end) of the next block on their way to L2 while this one is computed: without it a decode waits at each row, the
// hardware does not guess where pages go on. (To L2: a block of two heads of 256 is four times L1.)
template <class X>
SLUICE_INLINE void gqa_prefetch(const GqaKeys<X>& next, int begin, int end, int64_t dim) {
  constexpr int64_t kLine = int64_t(kCacheLine / sizeof(X));
  for (int j = begin; j < end && j < next.count; ++j)
    for (int64_t d = 0; d < dim; d += kLine) {
      __builtin_prefetch(next.k[j] + next.k_column + d, 0, 2);
      __builtin_prefetch(next.v[j] + next.v_column + d, 0, 2);
    }
}

// One step over D: sums[r * C + c] += q_r . k_c over 32 elements, or over n of them.
template <class V, class X, int R, int C, bool kWhole>
SLUICE_INLINE void gqa_dot_step(const typename V::Query* q, int64_t pitch, const X* const* k, int64_t column, int64_t d, int n,
                                typename V::F (&sums)[R * C]) {
  decltype(V::load_pair(*k)) key[C];
#pragma GCC unroll 16
  for (int c = 0; c < C; ++c) key[c] = kWhole ? V::load_pair(k[c] + column + d) : V::load_pair_n(k[c] + column + d, n);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    const auto query = V::load_query(q + r * pitch + d);
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) sums[r * C + c] = V::dot(query, key[c], sums[r * C + c]);
  }
}

// s[r * 64 + j] = q_r . k_j for j < n, and up to 15 more j.
template <class V, class X, int R>
void gqa_scores(const typename V::Query* q, int64_t pitch, const GqaKeys<X>& keys, const GqaKeys<X>& next, int64_t dim, int n,
                float* s) {
  constexpr int C = V::kSums / R;
  for (int j = 0; j < n; j += C) {
    gqa_prefetch(next, j, j + C, dim);
    typename V::F sums[R * C];
#pragma GCC unroll 16
    for (int i = 0; i < R * C; ++i) sums[i] = V::zero();
    int64_t d = 0;
    for (; d + kPair <= dim; d += kPair) gqa_dot_step<V, X, R, C, true>(q, pitch, keys.k + j, keys.k_column, d, kPair, sums);
    if (d < dim) gqa_dot_step<V, X, R, C, false>(q, pitch, keys.k + j, keys.k_column, d, int(dim - d), sums);
    alignas(64) float out[R * C];
    V::reduce_add_each(sums, out);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) __builtin_memcpy(s + r * kGqaBlock + j, out + r * C, C * sizeof(float));
  }
}

// Online softmax of R rows: s becomes e^(scale s - max) for the keys from `from` on and below limit[r], and 0 for the others; max
// and sum of the rows are brought up to date; factor[r] is what outputs so far are to be multiplied with.
template <class V, int R>
void gqa_softmax(float* s, int from, const int* limit, float scale, float* max, float* sum, float* factor) {
  using F = typename V::F;
  constexpr int kVectors = kGqaBlock / simd::kLanes;
  alignas(64) float block[simd::kLanes];
  for (int r = 0; r < R; ++r) {
    float* row = s + r * kGqaBlock;
    for (int j = 0; j < from; ++j) row[j] = -__builtin_inff();
    for (int j = limit[r]; j < kGqaBlock; ++j) row[j] = -__builtin_inff();
    F top = V::set1(-__builtin_inff());
    for (int i = 0; i < kVectors; ++i) {
      const F x = V::mul(V::load(row + i * simd::kLanes), V::set1(scale));
      V::store(row + i * simd::kLanes, x);
      top = V::max(x, top);
    }
    block[r] = V::reduce_max(top);
  }
  const F old = V::load_n(max, R), top = V::max(old, V::load_n(block, R));
  const F keep = simd::exp<V>(V::sub(old, top));
  V::store_n(max, top, R), V::store_n(factor, keep, R);
  for (int r = 0; r < R; ++r) {
    float* row = s + r * kGqaBlock;
    F total = V::zero();
    for (int i = 0; i < kVectors; ++i) {
      const F p = simd::exp<V>(V::sub(V::load(row + i * simd::kLanes), V::set1(max[r])));
      V::store(row + i * simd::kLanes, p);
      total = V::add(total, p);
    }
    block[r] = V::reduce_add(total);
  }
  V::store_n(sum, V::fma(V::load_n(sum, R), keep, V::load_n(block, R)), R);
}

// 32 W columns, or n < 32 of them: o_r = factor[r] o_r + sum_j p[r * 64 + j] v_j over keys [begin, end). Where keys are taken two
// at a time, the other one of a pair that is cut has p = 0 and is not read.
template <class V, class X, int R, int W, bool kWhole>
SLUICE_INLINE void gqa_weigh_columns(const typename V::Weight* p, const GqaKeys<X>& keys, int begin, int end, int64_t d, int n,
                                     const float* factor, float* o, int64_t pitch) {
  typename V::F sums[R * W * 2];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int w = 0; w < 2 * W; ++w) sums[r * W * 2 + w] = V::mul(V::load(o + r * pitch + d + w * simd::kLanes), V::set1(factor[r]));
  const auto load = [n](const X* row) __attribute__((always_inline)) {
    return kWhole ? V::load_pair(row) : V::load_pair_n(row, n);
  };
  const auto add = [&](int j, auto... rows) __attribute__((always_inline)) {  // keys j, ...
    decltype(V::values(load(rows)...)) value[W];
#pragma GCC unroll 16
    for (int w = 0; w < W; ++w) value[w] = V::values(load(rows + w * kPair)...);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto weight = V::weight(p + r * kGqaBlock + j);
#pragma GCC unroll 16
      for (int w = 0; w < W; ++w) {
        sums[(r * W + w) * 2] = V::weigh(weight, value[w].a, sums[(r * W + w) * 2]);
        sums[(r * W + w) * 2 + 1] = V::weigh(weight, value[w].b, sums[(r * W + w) * 2 + 1]);
      }
    }
  };
  const auto row = [&](int j) __attribute__((always_inline)) { return keys.v[j] + keys.v_column + d; };
  if constexpr (V::kKeys == 1) {
    for (int j = begin; j < end; ++j) add(j, row(j));
  } else {
    static constexpr X kNone[W * kPair] = {};
    int j = begin;
    if (j % 2 && j < end) add(j - 1, kNone, row(j)), ++j;
    for (; j + 2 <= end; j += 2) add(j, row(j), row(j + 1));
    if (j < end) add(j, row(j), kNone);
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int w = 0; w < 2 * W; ++w) V::store(o + r * pitch + d + w * simd::kLanes, sums[r * W * 2 + w]);
}

// All columns from d on, in passes of 32 W, then of half as many.
template <class V, class X, int R, int W>
SLUICE_INLINE void gqa_weigh_passes(const typename V::Weight* p, const GqaKeys<X>& keys, int begin, int end, int64_t d, int64_t dim,
                                    const float* factor, float* o, int64_t pitch) {
  for (; d + W * kPair <= dim; d += W * kPair) gqa_weigh_columns<V, X, R, W, true>(p, keys, begin, end, d, kPair, factor, o, pitch);
  if constexpr (W > 1) gqa_weigh_passes<V, X, R, W / 2>(p, keys, begin, end, d, dim, factor, o, pitch);
  else if (d < dim) gqa_weigh_columns<V, X, R, 1, false>(p, keys, begin, end, d, int(dim - d), factor, o, pitch);
}

template <class V, class X, int R>
void gqa_weigh(const typename V::Weight* p, const GqaKeys<X>& keys, int begin, int end, int64_t dim, const float* factor, float* o,
               int64_t pitch) {
  constexpr int W = V::kSums / (2 * R);
  gqa_weigh_passes<V, X, R, W ? W : 1>(p, keys, begin, end, 0, dim, factor, o, pitch);
}

}  // namespace sluice
