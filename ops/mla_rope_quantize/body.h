// The body of the vector forms: a token's cosines and sines are laid out once, for all of its heads.
#pragma once

#include <algorithm>

#include "core/simd.h"
#include "ops/mla_rope_quantize/forms.h"
#include "ops/mla_rope_quantize/parts.h"

namespace sluice {

// Half-split: entry i is pair i. Interleaved: entries 2i and 2i + 1 are pair i, the first sine negated, so that
// y = x * cosine + swapped(x) * sine.
struct MlaRopeTable {
  float *cosine, *sine;
};

SLUICE_INLINE void mla_rope_fill_table(const MlaRopeCall& call, int64_t t, const MlaRopeTable& table) {
  const float* c = call.cosines(call.positions[t]);
  const int64_t pairs = call.rope / 2;
  for (int64_t i = 0; i < pairs; ++i) {
    const float cosine = c ? c[i] : __builtin_nanf(""), sine = c ? c[pairs + i] : __builtin_nanf("");
    if (call.interleaved) {
      table.cosine[2 * i] = table.cosine[2 * i + 1] = cosine;
      table.sine[2 * i] = -sine, table.sine[2 * i + 1] = sine;
    } else {
      table.cosine[i] = cosine, table.sine[i] = sine;
    }
  }
}

template <class V, class X, class F8>
SLUICE_INLINE void mla_rope_half_split(const X* x, F8* y, const MlaRopeTable& table, int64_t pairs, typename V::F scale) {
  for (int64_t i = 0; i < pairs; i += simd::kLanes) {
    const int lanes = simd::lanes_at(i, pairs);
    const auto x1 = V::load_n(x + i, lanes), x2 = V::load_n(x + i + pairs, lanes);
    const auto c = V::load_n(table.cosine + i, lanes), s = V::load_n(table.sine + i, lanes);
    V::store_n(y + i, V::mul(V::fnma(x2, s, V::mul(x1, c)), scale), lanes);
    V::store_n(y + i + pairs, V::mul(V::fma(x1, s, V::mul(x2, c)), scale), lanes);
  }
}

template <class V, class X, class F8>
SLUICE_INLINE void mla_rope_interleaved(const X* x, F8* y, const MlaRopeTable& table, int64_t n, typename V::F scale) {
  for (int64_t d = 0; d < n; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, n);
    const auto v = V::load_n(x + d, lanes);
    const auto c = V::load_n(table.cosine + d, lanes), s = V::load_n(table.sine + d, lanes);
    V::store_n(y + d, V::mul(V::fma(V::swap_pairs(v), s, V::mul(v, c)), scale), lanes);
  }
}

template <class V, class X, class F8>
SLUICE_INLINE void mla_rope_quantize_row(const MlaRopeCall& call, int64_t t, int64_t head, const MlaRopeTable& table) {
  const MlaRowOut out = call.out(t, head);
  if (out.nowhere) return;
  F8 *to = static_cast<F8*>(static_cast<void*>(out.nope)), *to_rope = static_cast<F8*>(static_cast<void*>(out.rope));
  const X *nope = call.nope_in<X>(t, head), *rope = call.rope_in<X>(t, head);
  const auto scale = V::set1(call.scale(head));
  for (int64_t d = 0; d < call.nope; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, call.nope);
    V::store_n(to + d, V::mul(V::load_n(nope + d, lanes), scale), lanes);
  }
  if (call.interleaved) mla_rope_interleaved<V>(rope, to_rope, table, call.rope, scale);
  else mla_rope_half_split<V>(rope, to_rope, table, call.rope / 2, scale);
}

template <class V>
Status mla_rope_quantize_body(Context& ctx, const MlaRopeQuantizeArgs& args, std::byte* scratch) {
  const MlaRopeCall call(args);
  const int64_t length = mla_rope_table_length(call.rope), token = std::max<int64_t>(1, call.rows * (call.nope + call.rope));
  const int64_t grain = std::max<int64_t>(1, 16384 / token);  // elements worth waking a thread for
  visit_mla_value(args.q_rope.present() ? args.q_rope : args.k_rope, [&]<class X>(X*) {
    visit_mla_fp8(args, [&]<class F8>(F8*) {
      ctx.team->split(call.tokens, grain, [&](int64_t begin, int64_t end, int thread) {
        float* cosine = reinterpret_cast<float*>(scratch) + thread * 2 * length;
        const MlaRopeTable table{cosine, cosine + length};
        for (int64_t t = begin; t < end; ++t) {
          mla_rope_fill_table(call, t, table);
          for (int64_t head = 0; head < call.rows; ++head) mla_rope_quantize_row<V, X, F8>(call, t, head, table);
        }
      });
    });
  });
  return {};
}

}  // namespace sluice
