// The body of the vector forms: one pass reads the state for S^T k and S^T q together, o = scale (e^g S^T q + (k.q) delta) with
// delta = beta (v - e^g S^T k); a second pass, from the nearest cache, updates it.
#pragma once

#include "core/context.h"
#include "ops/gdn_chunk/rows.h"
#include "ops/gdn_chunk/tile.h"
#include "ops/gdn_decode_classic/forms.h"

namespace sluice {

// One head's row, as fp32.
struct ClassicRow {
  int64_t K, V;
  const float *k, *v;  // q follows k
  float decay, beta, scale;
  float *delta, *o;  // [V]
};

// Floats of scratch of one thread: k, q, v, delta, o.
SLUICE_INLINE int64_t classic_scratch_row(int64_t K, int64_t V) { return 2 * K + 3 * V; }

template <class V, class S>
void classic_read(const ClassicRow& r, const S* s) {
  auto sum = V::zero();
  for (int64_t d = 0; d < r.K; d += simd::kLanes) sum = V::fma(V::load(r.k + d), V::load(r.k + r.K + d), sum);
  const auto kq = V::set1(V::reduce_add(sum)), decay = V::set1(r.decay), beta = V::set1(r.beta), scale = V::set1(r.scale);
  gdn::for_strips<gdn::TileOf<V>::kWide>(r.V / simd::kLanes, [&]<int C>(gdn::Count<C>, int64_t vector) {
    typename V::F acc[2][C] = {};
    gdn::accumulate<V>(acc, r.k, r.K, s + vector * simd::kLanes, r.V, r.K);
    for (int c = 0; c < C; ++c) {
      const int64_t e = (vector + c) * simd::kLanes;
      const auto delta = V::mul(beta, V::fnma(decay, acc[0][c], V::load(r.v + e)));
      V::store(r.delta + e, delta);
      V::store(r.o + e, V::mul(scale, V::fma(kq, delta, V::mul(decay, acc[1][c]))));
    }
  });
}

template <class V, class S>
void classic_update(const ClassicRow& r, S* s) {
  const auto decay = V::set1(r.decay);
  for (int64_t d = 0; d < r.K; ++d) {
    const auto k = V::set1(r.k[d]);
    for (int64_t e = 0; e < r.V; e += simd::kLanes) {
      S* at = s + d * r.V + e;
      V::store(at, V::fma(k, V::load(r.delta + e), V::mul(decay, V::load(at))));
    }
  }
}

// What the task of a sequence and value head needs of the arguments.
struct ClassicView {
  gdn::RowView q, k, v, o;
  const float *log_g, *beta;
  int64_t log_g_stride, beta_stride;
  const int32_t* slots;
  int64_t HK, HV, K, V, state_pitch;
  float scale, l2_eps;
  bool qk_l2norm;
};

ClassicView make_classic_view(const GdnDecodeClassicArgs& a);

template <class V, class S>
void classic_task(const ClassicView& a, S* state, int64_t b, int64_t head, float* scratch) {
  const int64_t slot = a.slots[b], key_head = head / (a.HV / a.HK);
  if (slot < 0) return gdn::clear_row<V>(a.V, a.o, b, head);
  float *k = scratch, *q = k + a.K, *v = q + a.K, *delta = v + a.V, *o = delta + a.V;
  gdn::load_row<V>(a.k, b, key_head, a.K, a.qk_l2norm, a.l2_eps, k);
  gdn::load_row<V>(a.q, b, key_head, a.K, a.qk_l2norm, a.l2_eps, q);
  gdn::load_row<V>(a.v, b, head, a.V, false, 0, v);
  float decay[simd::kLanes];
  V::store(decay, simd::exp<V>(V::set1(a.log_g[b * a.log_g_stride + head])));
  const ClassicRow row{.K = a.K,
                       .V = a.V,
                       .k = k,
                       .v = v,
                       .decay = decay[0],
                       .beta = a.beta[b * a.beta_stride + head],
                       .scale = a.scale,
                       .delta = delta,
                       .o = o};
  S* s = state + slot * a.state_pitch + head * a.K * a.V;
  classic_read<V>(row, s);
  classic_update<V>(row, s);
  gdn::store_row<V>(o, a.V, a.o, b, head);
}

template <class V>
Status gdn_decode_classic_body(Context& ctx, const GdnDecodeClassicArgs& args, std::byte* scratch) {
  const ClassicView a = make_classic_view(args);
  ctx.team->each(args.slots.shape[0] * a.HV, [&](int64_t task, int thread) {
    float* memory = reinterpret_cast<float*>(scratch) + thread * classic_scratch_row(a.K, a.V);
    if (args.state.dtype == DType::kBF16) classic_task<V>(a, static_cast<Bf16*>(args.state.data), task / a.HV, task % a.HV, memory);
    else classic_task<V>(a, static_cast<float*>(args.state.data), task / a.HV, task % a.HV, memory);
  });
  return {};
}

}  // namespace sluice
