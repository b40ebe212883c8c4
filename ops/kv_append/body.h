// The body of the vector forms: token by token, each head's row converted on the way into its page.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/kv_append/forms.h"

namespace sluice {

// Row t of x to row `row` of page `page`.
template <class V, class X, class C>
SLUICE_INLINE void kv_append_row(const Tensor& x, int64_t t, const Tensor& cache, int64_t page, int64_t row) {
  const X* from = static_cast<const X*>(x.data) + t * x.stride[0];
  C* to = static_cast<C*>(cache.data) + page * cache.stride[0] + row * cache.stride[1];
  for (int64_t h = 0; h < x.shape[1]; ++h) simd::convert<V>(from + h * x.stride[1], to + h * cache.stride[2], x.shape[2]);
}

// Those of the tokens [begin, end) that belong to sequence b.
template <class V, class X, class C>
SLUICE_INLINE void kv_append_sequence(const KvAppendArgs& a, int64_t b, int64_t begin, int64_t end) {
  const int32_t* cu = static_cast<const int32_t*>(a.cu_seqlens.data);
  const int32_t* pages = static_cast<const int32_t*>(a.block_table.data) + b * a.block_table.stride[0];
  const int64_t start = static_cast<const int32_t*>(a.start.data)[b], size = a.k_cache.shape[1];
  for (int64_t t = std::max<int64_t>(begin, cu[b]); t < std::min<int64_t>(end, cu[b + 1]); ++t) {
    const int64_t position = start + (t - cu[b]), page = pages[position / size], row = position % size;
    kv_append_row<V, X, C>(a.k, t, a.k_cache, page, row);
    kv_append_row<V, X, C>(a.v, t, a.v_cache, page, row);
  }
}

template <class V>
Status kv_append_body(Context& ctx, const KvAppendArgs& a) {
  const int64_t token = std::max<int64_t>(1, 2 * a.k.shape[1] * a.k.shape[2]);
  const int64_t grain = std::max<int64_t>(1, 16384 / token);  // elements worth waking a thread for
  visit_float(a.k, [&]<class X>(X*) {
    visit_float(a.k_cache, [&]<class C>(C*) {
      ctx.team->split(a.k.shape[0], grain, [&](int64_t begin, int64_t end, int) {
        for (int64_t b = 0; b < a.start.shape[0]; ++b) kv_append_sequence<V, X, C>(a, b, begin, end);
      });
    });
  });
  return {};
}

}  // namespace sluice
