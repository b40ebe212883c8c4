// The body of the vector forms: tiles of heads against spans of a row's list of keys, block by block, and the merge of the spans.
#pragma once

#include "ops/mla_decode/forms.h"
#include "ops/mla_decode/plan.h"

namespace sluice {

// One call. X is what keys are computed with.
template <class V, class X>
class MlaDecodeBody {
 public:
  MlaDecodeBody(const MlaDecodeArgs& a, const MlaPlan& plan, std::byte* scratch, int threads)
      : a_(a),
        plan_(plan),
        scratch_(scratch),
        parts_(scratch + size_t(threads) * plan.thread_bytes),
        attention_(plan.dims, a.scale) {}

  void run(ThreadTeam& team) const {
    if (!plan_.split) return team.each(plan_.tiles, [&](int64_t i, int thread) { whole_tile(Tile(*this, i), thread); });
    team.each(plan_.tiles * plan_.most_spans, [&](int64_t part, int thread) {
      const Tile t(*this, part / plan_.most_spans);
      if (part % plan_.most_spans >= spans(t)) return;
      pack_queries(t, queries(thread));
      attend_span(t, part % plan_.most_spans, thread, part_state(part));
    });
    team.each(plan_.tiles, [&](int64_t i, int thread) { merge_parts(Tile(*this, i), thread); });
  }

 private:
  struct Tile {
    int64_t index, row, first_head, heads;
    MlaKeyList list;
    Tile(const MlaDecodeBody& body, int64_t i)
        : index(i),
          row(i / body.plan_.tiles_of_row),
          first_head(i % body.plan_.tiles_of_row * body.plan_.heads),
          heads(std::min(body.plan_.heads, body.a_.q_nope.dim(1) - first_head)),
          list(body.a_, row) {}
  };

  int64_t spans(const Tile& t) const { return ceil_div(t.list.count(), kGqaSpan); }
  size_t state_floats() const { return size_t(plan_.dims.state_floats(plan_.heads)); }
  // A thread's scratch: packed queries, two results, a block of bf16 rows where the cache is fp8.
  float* queries(int thread) const { return reinterpret_cast<float*>(scratch_ + size_t(thread) * plan_.thread_bytes); }
  float* states(int thread) const { return queries(thread) + plan_.heads * plan_.dims.q_pitch(); }
  MlaState thread_state(int thread, int which) const {
    return plan_.dims.state_at(states(thread) + size_t(which) * state_floats(), plan_.heads);
  }
  Bf16* block_rows(int thread) const { return reinterpret_cast<Bf16*>(states(thread) + 2 * state_floats()); }
  MlaState part_state(int64_t part) const {
    return plan_.dims.state_at(reinterpret_cast<float*>(parts_) + size_t(part) * state_floats(), plan_.heads);
  }

  void whole_tile(const Tile& t, int thread) const {
    const MlaState total = thread_state(thread, 0), part = thread_state(thread, 1);
    pack_queries(t, queries(thread));
    attend_span(t, 0, thread, total);
    for (int64_t s = 1; s < spans(t); ++s) {
      attend_span(t, s, thread, part);
      attention_.merge(total, part, t.heads);
    }
    finish(t, total);
  }

  void merge_parts(const Tile& t, int thread) const {
    MlaState total = thread_state(thread, 0);
    if (spans(t) == 0) attention_.clear(total, t.heads);
    else total = part_state(t.index * plan_.most_spans);
    for (int64_t s = 1; s < spans(t); ++s) attention_.merge(total, part_state(t.index * plan_.most_spans + s), t.heads);
    finish(t, total);
  }

  // q_nope and q_pe of a head side by side, as a key's latent and rope.
  void pack_queries(const Tile& t, float* out) const {
    const int64_t R = a_.q_nope.dim(2), P = a_.q_pe.dim(2);
    visit_float(a_.q_nope, [&]<class Q>(Q*) {
      for (int64_t h = 0; h < t.heads; ++h, out += plan_.dims.q_pitch())
        for (int64_t d = 0; d < R + P; d += kPair) {
          Q both[kPair];
          const int n = int(std::min<int64_t>(R + P - d, kPair));
          for (int i = 0; i < n; ++i) both[i] = d + i < R ? query<Q>(a_.q_nope, t, h)[d + i] : query<Q>(a_.q_pe, t, h)[d + i - R];
          MlaAttention<V, X>::pack(both, n, out + d);
        }
    });
  }
  template <class Q>
  const Q* query(const Tensor& q, const Tile& t, int64_t h) const {
    return q.as<Q>() + t.row * q.stride[0] + (t.first_head + h) * q.stride[1];
  }

  // Of a tile's heads, from nothing.
  void attend_span(const Tile& t, int64_t span, int thread, const MlaState& state) const {
    attention_.clear(state, t.heads);
    const int64_t begin = span * kGqaSpan, end = std::min(begin + kGqaSpan, t.list.count());
    MlaBlock<X> blocks[2];  // this one, and the next one, which is fetched ahead
    find_block(t, begin, end, blocks[0], thread);
    for (int64_t b = begin, i = 0; b < end; b += kGqaBlock, i ^= 1) {
      if (!mla_fp8(a_)) find_block(t, b + kGqaBlock, end, blocks[i ^ 1], thread);
      const int seen = blocks[i].count;
      if (seen > 0)
        attention_.attend(0, t.heads, queries(thread), blocks[i], blocks[i ^ 1].keys(), state, [&](int64_t) { return seen; });
      if (mla_fp8(a_)) find_block(t, b + kGqaBlock, end, blocks[i ^ 1], thread);  // into the rows that this one is done with
    }
  }

  // The keys that entries [begin, begin + 64) name, below `end`.
  void find_block(const Tile& t, int64_t begin, int64_t end, MlaBlock<X>& block, int thread) const {
    block.count = 0;
    for (int64_t j = begin; j < begin + kGqaBlock && j < end; ++j) {
      const std::byte* row = t.list.at(j);
      if (!row) continue;
      const X* key = reinterpret_cast<const X*>(row);
      if constexpr (sizeof(X) == sizeof(Bf16))
        if (mla_fp8(a_)) key = widen(row, block_rows(thread) + block.count * plan_.dims.first);
      block.first[block.count] = block.second[block.count] = block.value[block.count] = key;
      ++block.count;
    }
    block.repeat_last();
  }

  // As mla_read_fp8.
  const Bf16* widen(const std::byte* row, Bf16* out) const {
    const int64_t R = a_.q_nope.dim(2), P = a_.q_pe.dim(2);
    for (int64_t g = 0; g < R; g += kMlaScaleGroup) {
      float scale;
      std::memcpy(&scale, row + R + g / kMlaScaleGroup * 4, sizeof scale);
      for (int64_t d = g; d < g + kMlaScaleGroup; d += simd::kLanes)
        V::store(out + d, V::mul(V::load(reinterpret_cast<const F8E4M3*>(row) + d), V::set1(scale)));
    }
    std::memcpy(out + R, row + R + R / kMlaScaleGroup * 4, size_t(P) * sizeof(Bf16));
    return out;
  }

  void finish(const Tile& t, const MlaState& state) const {
    visit_float(a_.o, [&]<class O>(O*) {
      for (int64_t h = 0; h < t.heads; ++h) {
        const int64_t head = t.first_head + h;
        float* lse = a_.lse.present() ? a_.lse.as<float>() + t.row * a_.lse.stride[0] + head * a_.lse.stride[1] : nullptr;
        attention_.finish(state.from_row(h, plan_.dims.o_pitch()), a_.o.as<O>() + t.row * a_.o.stride[0] + head * a_.o.stride[1],
                          lse, a_.base);
      }
    });
  }

  const MlaDecodeArgs& a_;
  const MlaPlan& plan_;
  std::byte *scratch_, *parts_;
  const MlaAttention<V, X> attention_;
};

template <class V>
Status mla_decode_body(Context& ctx, const MlaDecodeArgs& a, std::byte* scratch) {
  const MlaPlan plan = plan_mla_decode(ctx, a);
  visit_mla_key(a, [&]<class X>(X*) { MlaDecodeBody<V, X>(a, plan, scratch, ctx.team->size()).run(*ctx.team); });
  return {};
}

}  // namespace sluice
