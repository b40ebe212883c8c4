// A piece of one key head and of its value heads, on the pool's memory.
#pragma once

#include "ops/gdn_chunk/append.h"

namespace sluice::gdn {

// Rows [first, first + count) of the open chunk, which are rows t, t + 1, ... of the call.
struct Piece {
  int64_t t, first, count;
};

// What one head has in one slot.
struct HeadMemory {
  float *s, *u, *g;

  SLUICE_INLINE HeadMemory(const View& a, int64_t slot, int64_t head)
      : s(a.state.s + slot * a.state.s_pitch + head * a.K * a.V),
        u(a.state.u + slot * a.state.u_pitch + head * kChunk * a.V),
        g(a.state.g + slot * a.state.g_pitch + head * kChunk) {}
};

SLUICE_INLINE bool is_new(const View& a, int64_t b) { return a.has_state ? a.has_state[b] == 0 : a.start[b] == 0; }

// A new sequence's S, for value heads [head, end_head).
template <class V>
void clear_states(const View& a, int64_t slot, int64_t head, int64_t end_head) {
  float* s = a.state.s + slot * a.state.s_pitch;
  for (int64_t d = head * a.K * a.V; d < end_head * a.K * a.V; d += kLanes) V::store(s + d, V::zero());
}

// The keys of w.rows into the pool, and the dots with them and those before. Returns the pool's keys.
template <class V>
const float* append_keys(const View& a, int64_t slot, int64_t key_head, const Piece& p, const Scratch& w) {
  float* keys = a.state.k + slot * a.state.k_pitch + key_head * a.K * kChunk;
  store_key_columns<V>(w.rows, a.K, p.first, p.count, keys);
  dot_products<V>(w.rows, a.K, keys, p.first, p.count, w.dots);
  return keys;
}

// log_g and beta of the piece's row i.
SLUICE_INLINE void append_gates(const HeadMemory& m, const Piece& p, int64_t i, float log_g, float beta, const Scratch& w) {
  const int64_t row = p.first + i;
  m.g[row] = log_g + (row ? m.g[row - 1] : 0.0f);
  w.beta[i] = beta;
}

// One value head, whose gates are set and whose new rows of u hold v: u and w.o, and the closing of a full chunk.
template <class V>
void append_values(const View& a, const HeadMemory& m, const Piece& p, const float* keys, const Scratch& w) {
  const HeadRows rows{.K = a.K,
                      .V = a.V,
                      .first = p.first,
                      .count = p.count,
                      .s = m.s,
                      .g = m.g,
                      .u = m.u,
                      .rows = w.rows,
                      .dots = w.dots,
                      .coefficients = w.coefficients,
                      .decay = w.decay,
                      .o = w.o,
                      .beta = w.beta,
                      .scale = a.scale};
  decay_dots<V>(rows);
  append_rows<V>(rows);
  if (a.close && p.first + p.count == kChunk) close_rows<V>(kChunk, a.K, a.V, m.s, keys, m.u, m.g, w);
}

// Heads of a task: a row of one head is a few hundred bytes, far from the next row, so that several heads share what fetching its
// page costs. At least two tasks a thread keep the threads busy to the end.
SLUICE_INLINE int64_t heads_per_task(int64_t sequences, int64_t key_heads, int threads) {
  constexpr int64_t kMost = 8;
  return std::clamp<int64_t>(sequences * key_heads / (2 * threads), 1, kMost);
}

}  // namespace sluice::gdn
