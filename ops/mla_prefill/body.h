// The body of the vector forms: tiles of a sequence's rows with one head, block of keys by block of keys.
#pragma once

#include "ops/mla_decode/attend.h"
#include "ops/mla_prefill/forms.h"

namespace sluice {

inline constexpr int64_t kMlaTileRows = 64;  // enough to read a key from L1 or L2 rather than from memory

SLUICE_INLINE MlaDims mla_prefill_dims(const MlaPrefillArgs& a) {
  const int64_t N = a.k_nope.dim(2);
  return {.first = N, .second = a.q.dim(2) - N, .value = a.v.dim(2)};
}

// One call. X is the element of q, keys and values. A thread's scratch: packed queries, then results.
template <class V, class X>
class MlaPrefillBody {
 public:
  MlaPrefillBody(const MlaPrefillArgs& a, std::byte* scratch)
      : a_(a), dims_(mla_prefill_dims(a)), attention_(dims_, a.scale), scratch_(reinterpret_cast<float*>(scratch)) {}

  void run(ThreadTeam& team) const {
    // Tiles by number: sequence by sequence, in each the last rows first, which have the most keys, and the heads of these rows.
    int64_t tiles = 0;
    for (int64_t b = 0; b < sequences(); ++b) tiles += tiles_of(mla_sequence(a_, b));
    team.each(tiles, [&](int64_t tile, int thread) {
      int64_t b = 0;
      for (; tile >= tiles_of(mla_sequence(a_, b)); ++b) tile -= tiles_of(mla_sequence(a_, b));
      const MlaSequence s = mla_sequence(a_, b);
      const int64_t H = a_.q.dim(1), begin = ((s.rows - 1) / kMlaTileRows - tile / H) * kMlaTileRows;
      attend({s, begin, std::min(kMlaTileRows, s.rows - begin), tile % H}, thread);
    });
  }

 private:
  struct Tile {
    MlaSequence sequence;
    int64_t begin, rows, head;  // begin: of the sequence's rows
  };

  int64_t sequences() const { return a_.cu_seqlens_q.dim(0) - 1; }
  int64_t tiles_of(const MlaSequence& s) const { return ceil_div(s.rows, kMlaTileRows) * a_.q.dim(1); }
  template <class T>
  static T* row(const Tensor& t, int64_t i, int64_t head) {
    return t.as<T>() + i * t.stride[0] + head * t.stride[1];
  }

  void attend(const Tile& t, int thread) const {
    float* q = scratch_ + thread * kMlaTileRows * dims_.q_pitch() + thread * dims_.state_floats(kMlaTileRows);
    const MlaState state = dims_.state_at(q + kMlaTileRows * dims_.q_pitch(), kMlaTileRows);
    pack_queries(t, q);
    attention_.clear(state, t.rows);
    const auto limit = [&](int64_t r) { return t.sequence.limit(t.begin + r, a_.causal); };
    const int64_t end = limit(t.rows - 1);
    MlaBlock<X> blocks[2];  // this one, and the next one, which is fetched ahead
    find_block(t, 0, end, blocks[0]);
    for (int64_t b = 0, i = 0, first = 0; b < end; b += kGqaBlock, i ^= 1) {
      find_block(t, b + kGqaBlock, end, blocks[i ^ 1]);
      while (limit(first) <= b) ++first;  // the first row that sees the block
      attention_.attend(first, t.rows, q, blocks[i], blocks[i ^ 1].keys(), state, [&](int64_t r) { return limit(r) - b; });
    }
    finish(t, state);
  }

  void pack_queries(const Tile& t, float* q) const {
    for (int64_t r = 0; r < t.rows; ++r, q += dims_.q_pitch()) {
      const X* in = row<X>(a_.q, t.sequence.first_row + t.begin + r, t.head);
      MlaAttention<V, X>::pack(in, dims_.first, q);
      MlaAttention<V, X>::pack(in + dims_.first, dims_.second, q + dims_.second_at());
    }
  }

  void find_block(const Tile& t, int64_t begin, int64_t end, MlaBlock<X>& block) const {
    block.count = int(std::clamp<int64_t>(end - begin, 0, kGqaBlock));
    for (int j = 0; j < block.count; ++j) {
      const int64_t key = t.sequence.first_key + begin + j;
      block.first[j] = row<X>(a_.k_nope, key, t.head), block.value[j] = row<X>(a_.v, key, t.head);
      block.second[j] = dims_.second > 0 ? a_.k_pe.as<X>() + key * a_.k_pe.stride[0] : nullptr;
    }
    block.repeat_last();
  }

  void finish(const Tile& t, const MlaState& state) const {
    visit_float(a_.o, [&]<class O>(O*) {
      for (int64_t r = 0; r < t.rows; ++r) {
        const int64_t i = t.sequence.first_row + t.begin + r;
        attention_.finish(state.from_row(r, dims_.o_pitch()), row<O>(a_.o, i, t.head),
                          a_.lse.present() ? row<float>(a_.lse, i, t.head) : nullptr, a_.base);
      }
    });
  }

  const MlaPrefillArgs& a_;
  const MlaDims dims_;
  const MlaAttention<V, X> attention_;
  float* scratch_;
};

template <class V>
Status mla_prefill_body(Context& ctx, const MlaPrefillArgs& a, std::byte* scratch) {
  visit_float(a.q, [&]<class X>(X*) { MlaPrefillBody<V, X>(a, scratch).run(*ctx.team); });
  return {};
}

}  // namespace sluice
