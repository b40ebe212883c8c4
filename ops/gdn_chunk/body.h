// The body of gdn_prefill, gdn_decode and gdn_verify. A task is some key heads of one sequence with all of their value heads: it
// alone writes the key rows, and the dots of the keys are shared. Tasks touch nothing of each other.
#pragma once

#include "core/context.h"
#include "ops/gdn_chunk/head.h"

namespace sluice::gdn {

template <class V>
void append_piece(const View& a, int64_t slot, int64_t key_head, const Piece& p, const Scratch& w) {
  for (int64_t i = 0; i < p.count; ++i) {
    load_row<V>(a.k, p.t + i, key_head, a.K, a.qk_l2norm, a.l2_eps, w.rows + 2 * i * a.K);
    load_row<V>(a.q, p.t + i, key_head, a.K, a.qk_l2norm, a.l2_eps, w.rows + (2 * i + 1) * a.K);
  }
  const float* keys = append_keys<V>(a, slot, key_head, p, w);
  const int64_t group = a.HV / a.HK;
  for (int64_t head = key_head * group; head < (key_head + 1) * group; ++head) {
    const HeadMemory m(a, slot, head);
    for (int64_t i = 0; i < p.count; ++i) {
      const int64_t t = p.t + i;
      append_gates(m, p, i, a.log_g[t * a.log_g_stride + head], a.beta[t * a.beta_stride + head], w);
      load_row<V>(a.v, t, head, a.V, false, 0, m.u + (p.first + i) * a.V);
    }
    append_values<V>(a, m, p, keys, w);
    for (int64_t i = 0; i < p.count; ++i) store_row<V>(w.o + i * a.V, a.V, a.o, p.t + i, head);
  }
}

// S of value heads [head, end_head) of sequence b, which stands at `position`, where a copy is wanted.
template <class V>
void copy_checkpoint(const View& a, int64_t b, int64_t position, int64_t head, int64_t end_head) {
  const CheckpointView& c = a.checkpoints;
  if (c.every == 0 || position % c.every != 0) return;
  const int64_t index = c.cu[b] + position / c.every - a.start[b] / c.every - 1, size = a.K * a.V;
  const float* from = a.state.s + a.slots[b] * a.state.s_pitch;
  float* to = c.s + index * c.pitch;
  for (int64_t d = head * size; d < end_head * size; d += kLanes) V::store(to + d, V::load(from + d));
}

// Key heads [head, end_head) of sequence b.
template <class V>
void append_task(const View& a, int64_t b, int64_t head, int64_t end_head, const Scratch& w) {
  const int64_t begin = a.cu_seqlens ? a.cu_seqlens[b] : b, end = a.cu_seqlens ? a.cu_seqlens[b + 1] : b + 1;
  const int64_t group = a.HV / a.HK, slot = a.slots[b];
  if (slot < 0) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = head * group; h < end_head * group; ++h) clear_row<V>(a.V, a.o, t, h);
    return;
  }
  if (is_new(a, b)) clear_states<V>(a, slot, head * group, end_head * group);
  int64_t first = a.start[b] % kChunk;
  for (int64_t t = begin; t < end;) {
    const int64_t count = std::min(kChunk - first, end - t);
    for (int64_t h = head; h < end_head; ++h) append_piece<V>(a, slot, h, {t, first, count}, w);
    t += count, first = (first + count) % kChunk;
    if (first == 0) copy_checkpoint<V>(a, b, a.start[b] + t - begin, head * group, end_head * group);
  }
}

template <class V>
Status append_body(Context& ctx, const View& a, std::byte* memory) {
  const int64_t heads = heads_per_task(a.B, a.HK, ctx.team->size()), blocks = (a.HK + heads - 1) / heads;
  ctx.team->each(a.B * blocks, [&](int64_t task, int thread) {
    const int64_t head = task % blocks * heads;
    append_task<V>(a, task / blocks, head, std::min(head + heads, a.HK), scratch_at(memory, a.K, a.V, thread));
  });
  return {};
}

}  // namespace sluice::gdn
