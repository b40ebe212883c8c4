// The body of the vector forms: tiles of rows against spans of keys, block by block, and the merge of the spans.
#pragma once

#include <algorithm>

#include "core/rows.h"
#include "ops/gqa_prefill/forms.h"
#include "ops/gqa_prefill/kernels.h"
#include "ops/gqa_prefill/plan.h"

namespace sluice {

// A partial result of a tile's rows over one span, or over several that were merged: outputs not yet divided by their sums.
struct GqaState {
  float *o, *max, *sum;
};

// One call. X is the cache's element.
template <class V, class X>
class GqaBody {
 public:
  GqaBody(const GqaArgs& a, const GqaPlan& plan, std::byte* scratch) : a_(a), plan_(plan), scratch_(scratch) {}

  void run(ThreadTeam& team) {
    if (plan_.tiles == 0) return;
    list_gqa_tiles(a_, plan_, scratch_);
    if (!plan_.split) return team.each(plan_.tiles, [&](int64_t t, int thread) { whole_tile(tile(t), thread); });
    const auto* part_tiles = reinterpret_cast<const int32_t*>(scratch_ + plan_.part_tiles);
    team.each(plan_.parts, [&](int64_t part, int thread) {
      const GqaTile& t = tile(part_tiles[part]);
      pack_queries(t, thread);
      attend_span(t, int(part - t.first_part), thread, part_state(part));
    });
    team.each(plan_.tiles, [&](int64_t i, int) { merge_parts(tile(i)); });
  }

 private:
  using F = typename V::F;
  using Query = typename V::Query;
  static constexpr int kMostRows = V::kMostRows;

  // Keys [begin, begin + count) of a sequence, in 64 readable rows: the last is repeated. All heads of each.
  struct Block {
    int64_t begin;
    int count;
    const X *k[kGqaBlock], *v[kGqaBlock];
  };
  GqaKeys<X> keys(const Block& block, int64_t kv_head) const {
    return {block.k, block.v, kv_head * a_.k_cache.stride[2], kv_head * a_.v_cache.stride[2], block.count};
  }

  const GqaTile& tile(int64_t i) const { return reinterpret_cast<const GqaTile*>(scratch_ + plan_.tile_list)[i]; }
  GqaState state_at(std::byte* p) const {
    auto* f = reinterpret_cast<float*>(p);
    return {f, f + plan_.rows * plan_.pitch, f + plan_.rows * (plan_.pitch + 1)};
  }
  size_t state_bytes() const { return size_t(plan_.state_floats) * sizeof(float); }
  GqaState part_state(int64_t part) const { return state_at(scratch_ + plan_.part_states + size_t(part) * state_bytes()); }
  std::byte* thread_memory(int thread) const { return scratch_ + plan_.threads + size_t(thread) * plan_.thread_bytes; }
  Query* queries(int thread) const { return reinterpret_cast<Query*>(thread_memory(thread)); }
  GqaState thread_state(int thread, int which) const {
    return state_at(thread_memory(thread) + size_t(plan_.rows * plan_.pitch) * sizeof(float) + size_t(which) * state_bytes());
  }
  // A tile is worked on one key head at a time: f(its tile, the index of its first row in the thread's queries and states).
  template <class Each>
  void for_each_head(GqaTile t, Each&& f) const {
    for (int64_t h = 0; h < plan_.heads; ++h, ++t.kv_head) f(t, h * rows(t));
  }
  GqaState from_row(const GqaState& s, int64_t r) const { return {s.o + r * plan_.pitch, s.max + r, s.sum + r}; }
  int64_t rows(const GqaTile& t) const { return t.queries * plan_.group; }
  // Keys that row r of a key head sees.
  int64_t limit(const GqaTile& t, int64_t r) const { return t.position + r / plan_.group + 1; }
  // The first row that sees the key at this position.
  int64_t first_row_at(const GqaTile& t, int64_t position) const {
    return position <= t.position ? 0 : (position - t.position) * plan_.group;
  }
  // Row r of a key head in a [T, HQ, D] tensor.
  template <class T>
  T* row(const Tensor& x, const GqaTile& t, int64_t r) const {
    return x.as<T>() + (t.first_row + r / plan_.group) * x.stride[0] + (t.kv_head * plan_.group + r % plan_.group) * x.stride[1];
  }

  void whole_tile(const GqaTile& t, int thread) const {
    if (t.spans == 0) return clear(t);
    pack_queries(t, thread);
    const GqaState total = thread_state(thread, 0), part = thread_state(thread, 1);
    attend_span(t, 0, thread, total);
    for (int s = 1; s < t.spans; ++s) {
      attend_span(t, s, thread, part);
      merge(t, s, total, part);
    }
    finish(t, total);
  }

  void merge_parts(const GqaTile& t) const {
    if (t.spans == 0) return clear(t);
    const GqaState total = part_state(t.first_part);
    for (int s = 1; s < t.spans; ++s) merge(t, s, total, part_state(t.first_part + s));
    finish(t, total);
  }

  // Rounded to the cache's type, in the order of lanes.h, zero past D.
  void pack_queries(const GqaTile& t, int thread) const {
    visit_float(a_.q, [&]<class Q>(Q*) {
      for_each_head(t, [&](const GqaTile& head, int64_t first) {
        for (int64_t r = 0; r < rows(t); ++r) pack_row(row<Q>(a_.q, head, r), queries(thread) + (first + r) * plan_.pitch);
      });
    });
  }
  template <class Q>
  void pack_row(const Q* in, Query* out) const {
    const int64_t dim = a_.q.shape[2];
    for (int64_t d = 0; d < dim; d += kPair) {
      alignas(64) X rounded[kPair];
      const int n = int(dim - d < kPair ? dim - d : kPair), low = n < simd::kLanes ? n : simd::kLanes;
      V::store(rounded, V::load_n(in + d, low));
      V::store(rounded + simd::kLanes, V::load_n(in + d + low, n - low));
      V::store_query(out + d, V::load_pair(rounded));
    }
  }

  // The rows of a tile that reach into span s, over its keys, from nothing.
  void attend_span(const GqaTile& t, int s, int thread, const GqaState& state) const {
    const int64_t begin = s * kGqaSpan, last = limit(t, rows(t) - 1), end = last < begin + kGqaSpan ? last : begin + kGqaSpan;
    for (int64_t r = 0; r < plan_.heads * rows(t); ++r) {
      state.max[r] = -__builtin_inff(), state.sum[r] = 0;
      for (int64_t d = 0; d < plan_.pitch; d += simd::kLanes) V::store(state.o + r * plan_.pitch + d, V::zero());
    }
    Block blocks[2];
    find_block(t, begin, end, blocks[0]);
    for (int64_t b = begin, i = 0; b < end; b += kGqaBlock, i ^= 1) {
      find_block(t, b + kGqaBlock, end, blocks[i ^ 1]);
      for_each_head(t, [&](const GqaTile& head, int64_t first) {
        attend_rows<kMostRows>(head, blocks[i], keys(blocks[i ^ 1], head.kv_head), first_row_at(t, b),
                               queries(thread) + first * plan_.pitch, from_row(state, first));
      });
    }
  }

  void find_block(const GqaTile& t, int64_t begin, int64_t end, Block& block) const {
    const int count = int(end - begin < kGqaBlock ? end - begin : kGqaBlock);
    const int64_t page_size = a_.k_cache.shape[1];
    const int32_t* table = a_.block_table.as<int32_t>() + t.sequence * a_.block_table.stride[0];
    const X* k = a_.k_cache.as<X>();
    const X* v = a_.v_cache.as<X>();
    block.begin = begin, block.count = count;
    if (count <= 0) return;
    int64_t page = begin / page_size, slot = begin % page_size;
    for (int j = 0; j < kGqaBlock; ++j) {
      block.k[j] = j < count ? k + table[page] * a_.k_cache.stride[0] + slot * a_.k_cache.stride[1] : block.k[count - 1];
      block.v[j] = j < count ? v + table[page] * a_.v_cache.stride[0] + slot * a_.v_cache.stride[1] : block.v[count - 1];
      if (j < count && ++slot == page_size) slot = 0, page += j + 1 < count;
    }
  }

  // Rows [r, end of tile), R at a time, then the rest by halves.
  template <int R>
  void attend_rows(const GqaTile& t, const Block& block, GqaKeys<X> next, int64_t r, const Query* q, const GqaState& state) const {
    for (; r + R <= rows(t); r += R) {
      attend<R>(t, block, next, r, q + r * plan_.pitch, state);
      next.count = 0;  // fetched once
    }
    if constexpr (R > 1) attend_rows<R / 2>(t, block, next, r, q, state);
  }

  template <int R>
  void attend(const GqaTile& t, const Block& block, const GqaKeys<X>& next, int64_t first, const Query* q,
              const GqaState& state) const {
    const int64_t dim = a_.q.shape[2], pitch = plan_.pitch;
    int seen[R];  // keys of the block
    for (int r = 0; r < R; ++r) {
      const int64_t n = limit(t, first + r) - block.begin;
      seen[r] = n < block.count ? int(n) : block.count;
    }
    alignas(64) float scores[R * kGqaBlock], factor[simd::kLanes];
    const GqaKeys<X> here = keys(block, t.kv_head);
    gqa_scores<V, X, R>(q, pitch, here, next, dim, seen[R - 1], scores);
    const int from = block.begin == 0 ? int(a_.first_key) : 0;
    gqa_softmax<V, R>(scores, from, seen, a_.scale, state.max + first, state.sum + first, factor);
    const auto* weights = V::weights(scores, R * kGqaBlock);
    // Keys that all R rows see, then those that only the later rows do: nothing past a row's own position is read for it.
    const int common = std::max(from, seen[0] / V::kKeys * V::kKeys);
    float* o = state.o + first * pitch;
    gqa_weigh<V, X, R>(weights, here, from, common, dim, factor, o, pitch);
    const float one = 1;
    for (int r = 0; r < R; ++r)
      if (seen[r] > common) gqa_weigh<V, X, 1>(weights + r * kGqaBlock, here, common, seen[r], dim, &one, o + r * pitch, pitch);
  }

  // total += part, for the rows that reach into span s: both are brought to the larger maximum.
  void merge(const GqaTile& t, int s, const GqaState& total, const GqaState& part) const {
    for (int64_t r = 0; r < plan_.heads * rows(t); ++r) {
      if (r % rows(t) < first_row_at(t, s * kGqaSpan)) continue;
      const F a = V::set1(total.max[r]), b = V::set1(part.max[r]), top = V::max(a, b);
      const F keep = simd::exp<V>(V::sub(a, top)), gain = simd::exp<V>(V::sub(b, top));
      V::store_n(total.max + r, top, 1);
      V::store_n(total.sum + r, V::fma(V::set1(part.sum[r]), gain, V::mul(V::set1(total.sum[r]), keep)), 1);
      float* o = total.o + r * plan_.pitch;
      const float* p = part.o + r * plan_.pitch;
      for (int64_t d = 0; d < plan_.pitch; d += simd::kLanes)
        V::store(o + d, V::fma(V::load(p + d), gain, V::mul(V::load(o + d), keep)));
    }
  }

  void finish(const GqaTile& t, const GqaState& state) const {
    visit_float(a_.o, [&]<class O>(O*) {
      for_each_head(t, [&](const GqaTile& head, int64_t first) {
        for (int64_t r = 0; r < rows(t); ++r) {
          const GqaState s = from_row(state, first + r);
          finish_row(head, r, s.o, V::div(V::set1(1), V::set1(*s.sum)), row<O>(a_.o, head, r));
          if (a_.lse.present()) *row<float>(a_.lse, head, r) = log_sum(*s.max, *s.sum);
        }
      });
    });
  }

  template <class O>
  void finish_row(const GqaTile& t, int64_t r, const float* in, F inverse, O* out) const {
    const int64_t dim = a_.q.shape[2];
    for (int64_t d = 0; d < dim; d += kPair) {
      const auto pair = V::template natural<X>({V::load(in + d), V::load(in + d + simd::kLanes)});
      const int n = int(dim - d < kPair ? dim - d : kPair), low = n < simd::kLanes ? n : simd::kLanes;
      store_gated(t, r, d, V::mul(pair.a, inverse), low, out);
      if (n > low) store_gated(t, r, d + low, V::mul(pair.b, inverse), n - low, out);
    }
  }

  template <class O>
  void store_gated(const GqaTile& t, int64_t r, int64_t d, F o, int n, O* out) const {
    if (a_.gate.present())
      visit_float(a_.gate, [&]<class G>(G*) { o = V::mul(o, simd::sigmoid<V>(V::load_n(row<G>(a_.gate, t, r) + d, n))); });
    V::store_n(out + d, o, n);
  }

  // max + ln(sum), sum >= 1: with sum = 2^e f, 1 <= f < 2, ln = e ln 2 + log1p(f - 1). Not finite: as it came.
  static float log_sum(float max, float sum) {
    uint32_t bits;
    __builtin_memcpy(&bits, &sum, sizeof bits);
    const int exponent = int(bits >> 23) - 127;
    if (exponent > 127) return sum;
    bits = (bits & 0x7fffffu) | 0x3f800000u;
    __builtin_memcpy(&sum, &bits, sizeof bits);
    const F log = V::fma(V::set1(float(exponent)), V::set1(0.693147180559945f), simd::log1p_unit<V>(V::set1(sum - 1)));
    return V::reduce_max(V::add(V::set1(max), log));
  }

  // Padding: nothing to attend to.
  void clear(const GqaTile& t) const {
    visit_float(a_.o, [&]<class O>(O*) {
      for_each_head(t, [&](const GqaTile& head, int64_t) {
        for (int64_t r = 0; r < rows(t); ++r) {
          O* out = row<O>(a_.o, head, r);
          for (int64_t d = 0; d < a_.q.shape[2]; ++d) out[d] = O(0.0f);
          if (a_.lse.present()) *row<float>(a_.lse, head, r) = -__builtin_inff();
        }
      });
    });
  }

  const GqaArgs& a_;
  const GqaPlan& plan_;
  std::byte* scratch_;
};

template <class V>
Status gqa_body(Context& ctx, const GqaArgs& a, std::byte* scratch) {
  const GqaPlan plan = plan_gqa(ctx, a);
  visit_float(a.k_cache, [&]<class X>(X*) { GqaBody<V, X>(a, plan, scratch).run(*ctx.team); });
  return {};
}

}  // namespace sluice
