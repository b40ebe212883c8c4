// The body of the vector forms: a task takes some key heads of one sequence, with their value heads, from the projection's output
// to the gated norm. Each piece of arithmetic is a function of the operator that it belongs to, so the bits are theirs.
#pragma once

#include "core/context.h"
#include "ops/gated_rmsnorm/body.h"
#include "ops/gdn_chunk/head.h"
#include "ops/gdn_step/forms.h"
#include "ops/qkv_conv_split/row.h"

namespace sluice {

// Channels [first, first + n) of sequence b through the convolution; its input goes into the ring.
template <class V, int W>
void step_conv(const GdnStepArgs& a, const ConvRing& ring, int64_t b, int64_t position, int64_t first, int64_t n, float* out) {
  const float* past[W - 1];
  ring.past<W>(position, first, past);
  visit_float(a.qkv, [&]<class X>(X*) {
    const X* x = a.qkv.as<X>() + b * a.qkv.stride[0] + first;
    visit_float(a.conv_weight, [&]<class T>(T*) { conv_silu_row<V, W>(past, x, a.conv_weight.as<T>() + first * W, n, out); });
    simd::convert<V>(x, ring.row(position) + first, n);
  });
}

template <class V>
void step_norm(const GdnStepArgs& a, int64_t b, int64_t head, const float* o, int64_t n, float* gate) {
  visit_float(a.z, [&]<class Z>(Z*) {
    gated_rmsnorm_gate<V>(a.z.as<Z>() + b * a.z.stride[0] + head * a.z.stride[1], gate, n, Gate::kSilu);
  });
  visit_float(a.norm_weight, [&]<class T>(T*) {
    visit_float(a.y, [&]<class Y>(Y*) {
      Y* y = a.y.as<Y>() + b * a.y.stride[0] + head * a.y.stride[1];
      gated_rmsnorm_scale<V>(o, a.norm_weight.as<T>(), gate, true, y, n, a.norm_eps);
    });
  });
}

template <class V, int W>
void step_key_head(const GdnStepArgs& a, const gdn::View& v, const ConvRing& ring, int64_t b, int64_t key_head,
                   const gdn::Scratch& w) {
  const int64_t position = v.start[b], slot = v.slots[b], keys_end = 2 * v.HK * v.K, group = v.HV / v.HK;
  const gdn::Piece piece{.t = b, .first = position % kChunk, .count = 1};
  float *k = w.rows, *q = w.rows + v.K;
  step_conv<V, W>(a, ring, b, position, key_head * v.K, v.K, q);
  step_conv<V, W>(a, ring, b, position, (v.HK + key_head) * v.K, v.K, k);
  gdn::widen_row<V>(q, v.K, true, v.l2_eps, q);
  gdn::widen_row<V>(k, v.K, true, v.l2_eps, k);
  const float* keys = gdn::append_keys<V>(v, slot, key_head, piece, w);
  for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head) {
    const gdn::HeadMemory m(v, slot, head);
    float log_g, beta;
    gates_row<V>({a.a, a.b, a.A_log, a.dt_bias, a.allow_neg_eigval}, b, head, 1, &log_g, &beta);
    gdn::append_gates(m, piece, 0, log_g, beta, w);
    step_conv<V, W>(a, ring, b, position, keys_end + head * v.V, v.V, m.u + piece.first * v.V);
    gdn::append_values<V>(v, m, piece, keys, w);
    step_norm<V>(a, b, head, w.o, v.V, /*gate=*/w.o + v.V);  // the second row of outputs, which one token leaves free
  }
}

// Key heads [head, end_head) of sequence b.
template <class V>
void step_task(const GdnStepArgs& a, const gdn::View& v, int64_t b, int64_t head, int64_t end_head, const gdn::Scratch& w) {
  const int64_t slot = v.slots[b], group = v.HV / v.HK;
  if (slot < 0) {
    for (int64_t h = head * group; h < end_head * group; ++h) gdn::clear_row<V>(v.V, v.o, b, h);
    return;
  }
  if (gdn::is_new(v, b)) gdn::clear_states<V>(v, slot, head * group, end_head * group);
  const ConvRing ring(a.conv_ring, slot);
  visit_conv_width(a.conv_weight.shape[1], [&]<int W>() {
    for (int64_t h = head; h < end_head; ++h) step_key_head<V, W>(a, v, ring, b, h, w);
  });
}

template <class V>
Status gdn_step_body(Context& ctx, const GdnStepArgs& a, std::byte* scratch) {
  const gdn::View v = make_step_view(a);
  const int64_t heads = gdn::heads_per_task(v.B, v.HK, ctx.team->size()), blocks = (v.HK + heads - 1) / heads;
  ctx.team->each(v.B * blocks, [&](int64_t task, int thread) {
    const int64_t head = task % blocks * heads;
    step_task<V>(a, v, task / blocks, head, std::min(head + heads, v.HK), gdn::scratch_at(scratch, v.K, v.V, thread));
  });
  return {};
}

}  // namespace sluice
