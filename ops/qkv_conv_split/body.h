// The body of the vector forms. Work is the pairs (group of heads, row), group by group, so that a thread transposes a group's
// taps once for all its rows and a head's row is still in L1 when it is normalised. The ring is written in a second pass: a row
// written early could be the history of another thread's row.
#pragma once

#include <algorithm>

#include "ops/causal_conv1d/window.h"
#include "ops/l2norm/body.h"
#include "ops/qkv_conv_split/forms.h"
#include "ops/qkv_conv_split/row.h"

namespace sluice {

// Some neighbouring heads of q, k or v: where their channels lie and where their rows go.
struct HeadGroup {
  const Tensor* out;
  int64_t first, heads;   // in `out`
  int64_t first_channel;  // in qkv
  bool normalised;

  SLUICE_INLINE HeadGroup(const QkvConvSplitArgs& a, int64_t group) {
    const int64_t key_groups = count(a.q);
    normalised = group < 2 * key_groups;
    out = group < key_groups ? &a.q : normalised ? &a.k : &a.v;
    const int64_t keys = a.q.shape[1] * a.q.shape[2], dim = out->shape[2], per_group = heads_per_group(dim);
    first = (normalised ? group % key_groups : group - 2 * key_groups) * per_group;
    heads = std::min(per_group, out->shape[1] - first);
    first_channel = (out == &a.q ? 0 : normalised ? keys : 2 * keys) + first * dim;
  }
  static SLUICE_INLINE int64_t count(const Tensor& t) {
    const int64_t per_group = heads_per_group(t.shape[2]);
    return (t.shape[1] + per_group - 1) / per_group;
  }
  SLUICE_INLINE int64_t dim() const { return out->shape[2]; }
  SLUICE_INLINE float* row(int64_t t, int64_t head) const {
    return out->as<float>() + t * out->stride[0] + (first + head) * out->stride[1];
  }
};

// Calls f(b, begin, end) for what each sequence has of rows [begin, end).
template <class V, class F>
SLUICE_INLINE void each_sequence(const Tensor& cu_seqlens, int64_t begin, int64_t end, F&& f) {
  const auto* cu = cu_seqlens.as<int32_t>();
  for (int64_t b = 0; b + 1 < cu_seqlens.shape[0]; ++b)
    if (const int64_t from = std::max<int64_t>(begin, cu[b]), to = std::min<int64_t>(end, cu[b + 1]); from < to) f(b, from, to);
}

// One row of one head: `rows_before` rows of the call come before it, `past` holds those that the ring has.
template <class V, int W, class X>
SLUICE_INLINE void head_row(const StagedTaps<W>& taps, const X* row, int64_t pitch, int64_t rows_before, const float* const* past,
                            int64_t n, float* out) {
  if (rows_before < W - 1) {
    const auto input = [&](int w, int64_t c, int lanes) {
      const int64_t back = W - 1 - w;
      if (w == W - 1 || rows_before >= back) return V::load_n(row - back * pitch + c, lanes);
      return past[w] ? V::load_n(past[w] + c, lanes) : V::zero();
    };
    return conv_row<V, W>(taps, input, n, /*silu=*/true, out);
  }
  const X* oldest = row - (W - 1) * pitch;
  const auto input = [=](int w, int64_t c, int lanes) { return V::load_n(oldest + w * pitch + c, lanes); };
  conv_row<V, W>(taps, input, n, /*silu=*/true, out);
}

template <class V>
SLUICE_INLINE void normalise(float* x, int64_t n, float eps) {
  const auto scale = l2norm_scale<V>(x, n, eps);
  for (int64_t c = 0; c < n; c += simd::kLanes) {
    const int lanes = simd::lanes_at(c, n);
    V::store_n(x + c, V::mul(V::load_n(x + c, lanes), scale), lanes);
  }
}

template <int W>
SLUICE_INLINE StagedTaps<W> taps_of_head(const StagedTaps<W>& group, int64_t head, int64_t dim) {
  return {group.rows + head * ((dim + simd::kLanes - 1) / simd::kLanes * simd::kLanes), group.pitch};
}

// Rows [begin, end) of one group; all belong to sequence b.
template <class V, int W, class X>
SLUICE_INLINE void group_rows(const QkvConvSplitArgs& a, const HeadGroup& group, const StagedTaps<W>& taps, int64_t b,
                              int64_t begin, int64_t end) {
  const int64_t first_row = a.cu_seqlens.as<int32_t>()[b], start = a.start.as<int32_t>()[b], pitch = a.qkv.stride[0];
  const int64_t dim = group.dim();
  const ConvRing ring(a.conv_ring, a.slots.as<int32_t>()[b]);
  for (int64_t t = begin; t < end; ++t)
    for (int64_t h = 0; h < group.heads; ++h) {
      const int64_t rows_before = t - first_row, channel = group.first_channel + h * dim;
      const float* past[W - 1] = {};
      if (rows_before < W - 1) ring.past<W>(start + rows_before, channel, past);
      float* out = group.row(t, h);
      head_row<V, W>(taps_of_head(taps, h, dim), a.qkv.as<X>() + t * pitch + channel, pitch, rows_before, past, dim, out);
      if (group.normalised) normalise<V>(out, dim, a.l2_eps);
    }
}

template <class V>
SLUICE_INLINE void gate_row(const QkvConvSplitArgs& a, int64_t t, bool padding) {
  const int64_t HV = a.v.shape[1];
  float *log_g = a.log_g.as<float>() + t * a.log_g.stride[0], *beta = a.beta.as<float>() + t * a.beta.stride[0];
  if (padding) fill_zero<V>(log_g, HV), fill_zero<V>(beta, HV);
  else gates_row<V>({a.a, a.b, a.A_log, a.dt_bias, a.allow_neg_eigval}, t, 0, HV, log_g, beta);
}

template <class V, int W, class X>
void conv_groups(Context& ctx, const QkvConvSplitArgs& a, std::byte* scratch) {
  const int64_t T = a.qkv.shape[0], groups = 2 * HeadGroup::count(a.q) + HeadGroup::count(a.v), pitch = staged_taps_pitch(a);
  const int64_t grain = 4096 / std::max<int64_t>(pitch, 1) + 1;  // 4096 elements or more are worth waking a thread for
  ctx.team->split(groups * T, grain, [&](int64_t item, int64_t last, int thread) {
    const StagedTaps<W> taps{reinterpret_cast<float*>(scratch) + thread * StagedTaps<W>::kRows * pitch, pitch};
    while (item < last) {
      const int64_t g = item / T, begin = item % T, end = std::min(T, begin + last - item);
      item += end - begin;
      const HeadGroup group(a, g);
      for (int64_t h = 0; h < group.heads; ++h)
        taps_of_head(taps, h, group.dim()).template stage<V>(a.weight, {}, group.first_channel + h * group.dim(), group.dim());
      each_sequence<V>(a.cu_seqlens, begin, end, [&](int64_t b, int64_t from, int64_t to) {
        const bool padding = a.slots.as<int32_t>()[b] < 0;
        if (!padding) group_rows<V, W, X>(a, group, taps, b, from, to);
        for (int64_t t = from; t < to; ++t) {
          for (int64_t h = 0; padding && h < group.heads; ++h) fill_zero<V>(group.row(t, h), group.dim());
          if (t % groups == g) gate_row<V>(a, t, padding);  // so every thread has its share of gates
        }
      });
    }
  });
}

// The last rows of every sequence, to the places of their positions.
template <class V, class X>
void write_ring(Context& ctx, const QkvConvSplitArgs& a) {
  const int64_t B = a.slots.shape[0], C = a.qkv.shape[1], R = a.conv_ring.shape[1];
  const auto *cu = a.cu_seqlens.as<int32_t>(), *slots = a.slots.as<int32_t>(), *start = a.start.as<int32_t>();
  ctx.team->split(B * R, 65536 / std::max<int64_t>(C, 1) + 1, [&](int64_t begin, int64_t end, int) {  // 256 KiB take about 20 us
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / R, t = cu[b + 1] - R + i % R;
      if (slots[b] < 0 || t < cu[b]) continue;
      simd::convert<V>(a.qkv.as<X>() + t * a.qkv.stride[0], ConvRing(a.conv_ring, slots[b]).row(start[b] + t - cu[b]), C);
    }
  });
}

template <class V>
Status qkv_conv_split_body(Context& ctx, const QkvConvSplitArgs& a, std::byte* scratch) {
  visit_float(a.qkv, [&]<class X>(X*) {
    visit_conv_width(a.weight.shape[1], [&]<int W>() { conv_groups<V, W, X>(ctx, a, scratch); });
    write_ring<V, X>(ctx, a);
  });
  return {};
}

}  // namespace sluice
