// Running attention of rows that share their keys, for the vector forms of the MLA operators: the steps of
// ops/gqa_prefill/kernels.h, with keys in two runs and values of another length.
#pragma once

#include "core/rows.h"
#include "ops/gqa_prefill/kernels.h"
#include "ops/merge_state/body.h"

namespace sluice {

// Rows' results over the keys so far: outputs not yet divided by their sums.
struct MlaState {
  float *o, *max, *sum;
  SLUICE_INLINE MlaState from_row(int64_t r, int64_t pitch) const { return {o + r * pitch, max + r, sum + r}; }
};

// A key is a run of `first` elements and one of `second`; the latter lies elsewhere, or there is none. A packed query holds both,
// each from a multiple of kPair on.
struct MlaDims {
  int64_t first, second, value;
  SLUICE_INLINE int64_t second_at() const { return round_up(first, kPair); }
  SLUICE_INLINE int64_t q_pitch() const { return second_at() + round_up(second, kPair); }
  SLUICE_INLINE int64_t o_pitch() const { return round_up(value, kPair); }
  SLUICE_INLINE int64_t state_floats(int64_t rows) const { return rows * (o_pitch() + 2); }
  SLUICE_INLINE MlaState state_at(float* memory, int64_t rows) const {
    return {memory, memory + rows * o_pitch(), memory + rows * (o_pitch() + 1)};
  }
};

// At most kGqaBlock keys, in 64 readable rows of each kind (the last repeated); rows begin at their head.
template <class X>
struct MlaBlock {
  int count = 0;
  const X *first[kGqaBlock], *second[kGqaBlock], *value[kGqaBlock];

  SLUICE_INLINE GqaKeys<X> keys() const { return {first, value, 0, 0, count}; }
  SLUICE_INLINE void repeat_last() {
    for (int j = count; j < kGqaBlock && count > 0; ++j)
      first[j] = first[count - 1], second[j] = second[count - 1], value[j] = value[count - 1];
  }
};

template <class V, class X>
class MlaAttention {
 public:
  static constexpr int kMostRows = V::kMostRows;

  MlaAttention(const MlaDims& dims, float scale) : dims_(dims), scale_(scale) {}

  void clear(const MlaState& s, int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r) s.max[r] = -__builtin_inff(), s.sum[r] = 0;
    for (int64_t d = 0; d < rows * dims_.o_pitch(); d += simd::kLanes) V::store(s.o + d, V::zero());
  }

  // Part of a packed query: n elements, rounded to the keys' type, in the order of lanes.h; zeros up to a multiple of kPair.
  template <class Q>
  static void pack(const Q* in, int64_t n, float* out) {
    for (int64_t d = 0; d < n; d += kPair) {
      alignas(64) X rounded[kPair];
      const int lanes = int(n - d < kPair ? n - d : kPair), low = lanes < simd::kLanes ? lanes : simd::kLanes;
      V::store(rounded, V::load_n(in + d, low));
      V::store(rounded + simd::kLanes, V::load_n(in + d + low, lanes - low));
      const auto pair = V::load_pair(rounded);
      V::store(out + d, pair.a), V::store(out + d + simd::kLanes, pair.b);
    }
  }

  // Rows [r, rows) of a tile over a block, while `next` is fetched. Row r sees the first seen(r) keys of the block, at least one
  // and no fewer than row r - 1.
  template <int R = kMostRows, class Seen>
  void attend(int64_t r, int64_t rows, const float* q, const MlaBlock<X>& block, GqaKeys<X> next, const MlaState& s,
              const Seen& seen) const {
    for (; r + R <= rows; r += R) {
      int limit[R];
      for (int i = 0; i < R; ++i) limit[i] = int(std::min<int64_t>(seen(r + i), block.count));
      step<R>(q + r * dims_.q_pitch(), block, next, limit, s.from_row(r, dims_.o_pitch()));
      next.count = 0;  // fetched once
    }
    if constexpr (R > 1) attend<R / 2>(r, rows, q, block, next, s, seen);
  }

  // total += part, both brought to the larger maximum.
  void merge(const MlaState& total, const MlaState& part, int64_t rows) const {
    for (int64_t r = 0; r < rows; ++r) {
      if (part.sum[r] == 0) continue;
      const auto a = V::set1(total.max[r]), b = V::set1(part.max[r]), top = V::max(a, b);
      const auto keep = simd::exp<V>(V::sub(a, top)), gain = simd::exp<V>(V::sub(b, top));
      V::store_n(total.max + r, top, 1);
      V::store_n(total.sum + r, V::fma(V::set1(part.sum[r]), gain, V::mul(V::set1(total.sum[r]), keep)), 1);
      float* o = total.o + r * dims_.o_pitch();
      const float* p = part.o + r * dims_.o_pitch();
      for (int64_t d = 0; d < dims_.o_pitch(); d += simd::kLanes)
        V::store(o + d, V::fma(V::load(p + d), gain, V::mul(V::load(o + d), keep)));
    }
  }

  // One row to its place; lse may be null.
  template <class O>
  void finish(const MlaState& row, O* out, float* lse, LseBase base) const {
    const float sum = *row.sum;
    const auto inverse = V::div(V::set1(sum == 0 ? 0 : 1), V::set1(sum == 0 ? 1 : sum));
    for (int64_t d = 0; d < dims_.value; d += kPair) {
      const auto pair = V::template natural<X>({V::load(row.o + d), V::load(row.o + d + simd::kLanes)});
      const int n = int(dims_.value - d < kPair ? dims_.value - d : kPair), low = n < simd::kLanes ? n : simd::kLanes;
      V::store_n(out + d, V::mul(pair.a, inverse), low);
      if (n > low) V::store_n(out + d + low, V::mul(pair.b, inverse), n - low);
    }
    if (lse) *lse = float((sum == 0 ? kNoKeys : *row.max + merge_state_log<V>(sum)) / natural_log_of(base));
  }

 private:
  template <int R>
  void step(const float* q, const MlaBlock<X>& block, const GqaKeys<X>& next, const int (&limit)[R], const MlaState& s) const {
    alignas(64) float weights[R * kGqaBlock], factor[simd::kLanes];
    const GqaKeys<X> keys = block.keys();
    gqa_scores<V, X, R>(q, dims_.q_pitch(), keys, next, dims_.first, limit[R - 1], weights);
    if (dims_.second > 0) add_second<R>(q + dims_.second_at(), block, limit[R - 1], weights);
    gqa_softmax<V, R>(weights, 0, limit, scale_, s.max, s.sum, factor);
    // Keys that all R rows see, then those that only the later rows do: nothing that a row does not see is read for it.
    gqa_weigh<V, X, R>(weights, keys, 0, limit[0], dims_.value, factor, s.o, dims_.o_pitch());
    const float one = 1;
    for (int r = 1; r < R; ++r)
      if (limit[r] > limit[0])
        gqa_weigh<V, X, 1>(weights + r * kGqaBlock, keys, limit[0], limit[r], dims_.value, &one, s.o + r * dims_.o_pitch(),
                           dims_.o_pitch());
  }

  template <int R>
  void add_second(const float* q, const MlaBlock<X>& block, int n, float* weights) const {
    alignas(64) float more[R * kGqaBlock];
    const GqaKeys<X> keys{block.second, block.second, 0, 0, block.count}, none{block.second, block.second, 0, 0, 0};
    gqa_scores<V, X, R>(q, dims_.q_pitch(), keys, none, dims_.second, n, more);
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < n; ++j) weights[r * kGqaBlock + j] += more[r * kGqaBlock + j];
  }

  const MlaDims dims_;
  const float scale_;
};

}  // namespace sluice
