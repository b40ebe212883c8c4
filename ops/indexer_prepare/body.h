// The body of the vector forms: a row at a time in fp32, in L1, from its input to its codes.
#pragma once

#include <cstring>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/hadamard/body.h"
#include "ops/index_cache/index_cache.h"
#include "ops/indexer_prepare/forms.h"
#include "ops/rope/body.h"

namespace sluice {

// One thread's.
struct IndexerScratch {
  float* row;
  RopeTable table;
};

// A token's cosines and sines as ops/rope has them.
SLUICE_INLINE void indexer_fill_table(const IndexerPrepareArgs& a, int64_t t, const RopeTable& table) {
  const float* cosine = cos_sin_at(a, t);
  const int64_t pairs = a.cos_sin.shape[1] / 2;
  const float* sine = cosine + pairs;
  if (a.style == RopeStyle::kInterleaved) {
    for (int64_t i = 0; i < pairs; ++i) {
      table.cosine[2 * i] = cosine[i], table.cosine[2 * i + 1] = cosine[i];
      table.sine[2 * i] = -sine[i], table.sine[2 * i + 1] = sine[i];
    }
  } else {
    std::memcpy(table.cosine, cosine, size_t(pairs) * sizeof(float));
    std::memcpy(table.sine, sine, size_t(pairs) * sizeof(float));
  }
}

// Lane l sums x[l], x[l + 16], ...; then the fixed tree of reduce_add.
template <class V>
SLUICE_INLINE float indexer_sum(const float* x, int64_t n) {
  auto sum = V::zero();
  for (int64_t d = 0; d < n; d += simd::kLanes) sum = V::add(sum, V::load_n(x + d, simd::lanes_at(d, n)));
  return V::reduce_add(sum);
}

template <class V, class W>
SLUICE_INLINE void indexer_normalise(float* row, const W* weight, const W* bias, int64_t n, float eps) {
  const auto mean = V::set1(indexer_sum<V>(row, n) / float(n));
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(row + d, V::sub(V::load_n(row + d, lanes), mean), lanes);
  }
  const auto variance = V::set1(simd::sum_of_squares<V>(row, n) / float(n) + eps);
  const auto factor = V::div(V::set1(1), V::sqrt(variance));
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    const auto w = V::load_n(weight + d, lanes), b = V::load_n(bias + d, lanes);
    V::store_n(row + d, V::fma(V::mul(V::load_n(row + d, lanes), factor), w, b), lanes);
  }
}

template <class V>
SLUICE_INLINE void indexer_turn(const IndexerPrepareArgs& a, const IndexerScratch& scratch, int64_t n) {
  const int64_t rotary_dim = a.cos_sin.shape[1];
  if (a.style == RopeStyle::kInterleaved) rope_interleaved<V>(scratch.row, scratch.row, scratch.table, rotary_dim);
  else rope_half_split<V>(scratch.row, scratch.row, scratch.table, rotary_dim / 2);
  if (a.hadamard) hadamard_row<V>(scratch.row, scratch.row, scratch.row, n);
}

// Gives the scale.
template <class V>
SLUICE_INLINE float indexer_quantise(const float* row, F8E4M3* codes, int64_t n, Fp8ScaleRounding rounding) {
  auto most = V::zero();
  for (int64_t d = 0; d < n; d += simd::kLanes)  // in this order a NaN leaves the maximum as it was
    most = V::max(V::abs(V::load_n(row + d, simd::lanes_at(d, n))), most);
  const float scale = fp8_row_scale(V::reduce_max(most), rounding);
  const auto inverse = V::set1(1 / scale);
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    V::store_n(codes + d, V::mul(V::load_n(row + d, lanes), inverse), lanes);
  }
  return scale;
}

template <class V>
SLUICE_INLINE void indexer_load(const Tensor& x, int64_t r, float* row, int64_t n) {
  visit_float(x, [&]<class X>(X*) { simd::convert<V>(Rows(x).row<X>(r), row, n); });
}

template <class V>
SLUICE_INLINE void indexer_store(const float* row, const Tensor& out, int64_t r, int64_t n) {
  visit_float(out, [&]<class Y>(Y*) { simd::convert<V>(row, Rows(out).row<Y>(r), n); });
}

template <class V>
SLUICE_INLINE void indexer_query(const IndexerPrepareArgs& a, int64_t t, int64_t h, float gate_factor,
                                 const IndexerScratch& scratch) {
  const IndexerQuery& q = a.q;
  const int64_t r = t * q.x.shape[1] + h, n = q.x.shape[2];
  indexer_load<V>(q.x, r, scratch.row, n);
  indexer_turn<V>(a, scratch, n);
  float scale = 1;
  if (q.out.dtype == DType::kF8E4M3) scale = indexer_quantise<V>(scratch.row, Rows(q.out).row<F8E4M3>(r), n, a.scale_rounding);
  else indexer_store<V>(scratch.row, q.out, r, n);
  put_float(q.scale, t, h, scale);
  if (q.weights.present()) put_float(q.gate, t, h, float_at(q.weights, t, h) * gate_factor * scale);
}

template <class V>
SLUICE_INLINE void indexer_key(const IndexerPrepareArgs& a, int64_t t, const IndexerScratch& scratch) {
  const IndexerKey& k = a.k;
  const int64_t n = k.x.shape[1];
  indexer_load<V>(k.x, t, scratch.row, n);
  visit_float(k.norm_weight, [&]<class W>(W*) {
    indexer_normalise<V>(scratch.row, static_cast<const W*>(k.norm_weight.data), static_cast<const W*>(k.norm_bias.data), n, a.eps);
  });
  indexer_turn<V>(a, scratch, n);
  if (k.out.present()) indexer_store<V>(scratch.row, k.out, t, n);
  if (!k.cache.present()) return;
  const IndexCacheLayout layout(k.cache);
  const int64_t loc = integer_at(k.loc, t);
  if (!layout.holds(loc)) return;
  auto* cache = static_cast<std::byte*>(k.cache.data);
  auto* codes = reinterpret_cast<F8E4M3*>(cache + layout.codes(loc));
  const float scale = indexer_quantise<V>(scratch.row, codes, n, a.scale_rounding);
  std::memcpy(cache + layout.scale(loc), &scale, sizeof scale);
}

// A token's rows are its heads and then its key.
template <class V>
Status indexer_prepare_body(Context& ctx, const IndexerPrepareArgs& a, std::byte* memory) {
  const int64_t T = indexer_tokens(a), heads = a.q.x.present() ? a.q.x.shape[1] : 0, rows = heads + (a.k.x.present() ? 1 : 0);
  const int64_t grain = std::max<int64_t>(1, 8192 / indexer_dim(a));  // elements worth waking a thread for
  const IndexerScratchSizes sizes(a);
  const float gate_factor = indexer_gate_factor(a);
  ctx.team->split(T * rows, grain, [&](int64_t begin, int64_t end, int thread) {
    float* own = reinterpret_cast<float*>(memory) + thread * sizes.thread();
    const IndexerScratch scratch{own, {nullptr, own + sizes.row, own + sizes.row + sizes.table}};
    for (int64_t r = begin; r < end; ++r) {
      const int64_t t = r / rows, h = r % rows;
      if (r == begin || h == 0) indexer_fill_table(a, t, scratch.table);
      if (h < heads) indexer_query<V>(a, t, h, gate_factor, scratch);
      else indexer_key<V>(a, t, scratch);
    }
  });
  return {};
}

}  // namespace sluice
