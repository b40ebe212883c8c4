// The body of the vector forms: a token's sines and cosines once, in fp64, then every head of q and k with them in fp32.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "core/simd.h"
#include "ops/rope/forms.h"
#include "ops/rope/sincos.h"

namespace sluice {

// One thread's scratch. Half-split: entry i is pair i. Interleaved: entries 2i and 2i + 1 are pair i, the first sine negated, so
// that y = x * cosine + swapped(x) * sine.
struct RopeTable {
  double* angle;
  float *cosine, *sine;
};

SLUICE_INLINE void rope_fill_table(const RopeArgs& a, int64_t t, const RopeTable& table) {
  const double* inv_freq = static_cast<const double*>(a.inv_freq.data);
  const int64_t pairs = a.inv_freq.shape[0];
  const bool interleaved = a.style == RopeStyle::kInterleaved;
  for (int64_t i = 0; i < pairs; ++i) table.angle[i] = rope_position(a, t, i) * inv_freq[i];
  for (int64_t i = pairs; i % 8 != 0; ++i) table.angle[i] = 0;
  for (int64_t i = 0; i < pairs; i += 8) {
    Double8 x, sine, cosine;
    std::memcpy(&x, table.angle + i, sizeof x);
    sincos(x, sine, cosine);
    sine *= a.cos_sin_factor, cosine *= a.cos_sin_factor;
    for (int j = 0; j < 8; ++j) {
      const float c = float(cosine[j]), s = float(sine[j]);
      if (interleaved) {
        table.cosine[2 * (i + j)] = c, table.cosine[2 * (i + j) + 1] = c;
        table.sine[2 * (i + j)] = -s, table.sine[2 * (i + j) + 1] = s;
      } else {
        table.cosine[i + j] = c, table.sine[i + j] = s;
      }
    }
  }
}

template <class V, class X, class Y>
SLUICE_INLINE void rope_half_split(const X* x, Y* y, const RopeTable& table, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i += simd::kLanes) {
    const int lanes = simd::lanes_at(i, pairs);
    const auto x1 = V::load_n(x + i, lanes), x2 = V::load_n(x + i + pairs, lanes);
    const auto c = V::load_n(table.cosine + i, lanes), s = V::load_n(table.sine + i, lanes);
    V::store_n(y + i, V::fnma(x2, s, V::mul(x1, c)), lanes);
    V::store_n(y + i + pairs, V::fma(x1, s, V::mul(x2, c)), lanes);
  }
}

template <class V, class X, class Y>
SLUICE_INLINE void rope_interleaved(const X* x, Y* y, const RopeTable& table, int64_t rotary_dim) {
  for (int64_t d = 0; d < rotary_dim; d += simd::kLanes) {
    const int lanes = simd::lanes_at(d, rotary_dim);
    const auto v = V::load_n(x + d, lanes);
    const auto c = V::load_n(table.cosine + d, lanes), s = V::load_n(table.sine + d, lanes);
    V::store_n(y + d, V::fma(V::swap_pairs(v), s, V::mul(v, c)), lanes);
  }
}

// All heads of token t.
template <class V>
SLUICE_INLINE void rope_heads(const RopeArgs& a, int64_t t, const Tensor& x, const Tensor& y, const RopeTable& table) {
  const int64_t H = x.shape[1], D = x.shape[2], pairs = a.inv_freq.shape[0];
  visit_float(x, [&]<class X>(X*) {
    visit_float(y, [&]<class Y>(Y*) {
      for (int64_t h = 0; h < H; ++h) {
        const X* in = Rows(x).row<X>(t * H + h);
        Y* out = Rows(y).row<Y>(t * H + h);
        if (a.style == RopeStyle::kInterleaved) rope_interleaved<V>(in, out, table, 2 * pairs);
        else rope_half_split<V>(in, out, table, pairs);
        if (static_cast<const void*>(in) != out) simd::convert<V>(in + 2 * pairs, out + 2 * pairs, D - 2 * pairs);
      }
    });
  });
}

template <class V>
Status rope_body(Context& ctx, const RopeArgs& a, std::byte* scratch) {
  const int64_t T = a.positions.shape[a.positions.rank - 1], length = rope_table_length(a);
  const int64_t token = std::max<int64_t>(1, a.q.shape[1] * a.q.shape[2] + a.k.shape[1] * a.k.shape[2]);
  const int64_t grain = std::max<int64_t>(1, 8192 / token);  // elements worth waking a thread for
  ctx.team->split(T, grain, [&](int64_t begin, int64_t end, int thread) {
    double* angle = reinterpret_cast<double*>(scratch) + thread * 2 * length;
    float* cosine = reinterpret_cast<float*>(angle + length);
    const RopeTable table{angle, cosine, cosine + length};
    for (int64_t t = begin; t < end; ++t) {
      rope_fill_table(a, t, table);
      if (a.q.present()) rope_heads<V>(a, t, a.q, a.q_out, table);
      if (a.k.present()) rope_heads<V>(a, t, a.k, a.k_out, table);
    }
  });
  return {};
}

}  // namespace sluice
