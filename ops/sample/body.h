// The body of the vector forms: passes over the logits in blocks, then select.cc for each row.
#pragma once

#include <algorithm>

#include "ops/sample/adjust.h"
#include "ops/sample/exp64.h"
#include "ops/sample/scratch.h"

namespace sluice {

// Of a group's weights, which are fp64: they must order and add up as exact ones do. In one order, whatever is kept.
SLUICE_INLINE double sample_sum(const Double8 (&sum)[2]) {
  const Double8 s = sum[0] + sum[1];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// z has kLogitGroup entries.
template <bool kAll>
SLUICE_INLINE double sample_weigh_whole(const float* z, int64_t first, const SampleKept& kept, SampleScale scale, double* w) {
  Double8 sum[2] = {};
  Int8 id = Int8{0, 1, 2, 3, 4, 5, 6, 7} + first;
#pragma GCC unroll 8
  for (int64_t i = 0; i < kLogitGroup; i += 8, id += 8) {
    const Double8 v = widen8(z + i);
    Double8 weight = exp64((v - double(scale.max)) * scale.rate);
    if constexpr (!kAll) {
      const Int8 keep = ((v > double(kept.z)) | ((v == double(kept.z)) & (id <= int64_t(kept.last)))) & (weight >= kept.weight);
      weight = keep ? weight : Double8{};
    }
    if (w) std::memcpy(w + i, &weight, sizeof weight);
    sum[i / 8 % 2] += weight;
  }
  return sample_sum(sum);
}

// A group's z as kLogitGroup ones; `padded` is memory for those of the row's end.
SLUICE_INLINE const float* sample_padded(const float* z, int64_t n, float (&padded)[kLogitGroup]) {
  if (n == kLogitGroup) return z;
  for (int64_t i = 0; i < kLogitGroup; ++i) padded[i] = i < n ? z[i] : -__builtin_inff();
  return padded;
}

// See SampleForm.
template <class V>
double sample_weigh(const float* z, int64_t n, int64_t first, const SampleKept& kept, SampleScale scale, double* w) {
  float padded[kLogitGroup];
  z = sample_padded(z, n, padded);
  const bool all = kept.z == SampleKept{}.z && kept.weight == 0;
  return all ? sample_weigh_whole<true>(z, first, kept, scale, w) : sample_weigh_whole<false>(z, first, kept, scale, w);
}

template <class V>
SampleGroup sample_split(const float* z, int64_t n, SampleBracket bracket, SampleScale scale) {
  float padded[kLogitGroup];
  z = sample_padded(z, n, padded);
  const auto high = V::set1(bracket.high), low = V::set1(bracket.low);
  uint64_t not_inside = 0;
#pragma GCC unroll 4
  for (int64_t i = 0; i < kLogitGroup; i += simd::kLanes) {
    const auto v = V::load(z + i);
    not_inside |= uint64_t(V::greater(v, high) | V::greater(low, v)) << i;
  }
  Double8 sum[2] = {}, above[2] = {};
#pragma GCC unroll 8
  for (int64_t i = 0; i < kLogitGroup; i += 8) {
    const Double8 v = widen8(z + i), weight = exp64((v - double(scale.max)) * scale.rate);
    sum[i / 8 % 2] += weight;
    above[i / 8 % 2] += v > double(bracket.high) ? weight : Double8{};
  }
  return {.weight = sample_sum(sum), .above = sample_sum(above), .inside = ~not_inside};
}

template <class V>
inline constexpr SampleForm kSampleForm{.weigh = sample_weigh<V>, .split = sample_split<V>};

// The stages of a row. Each sees what the ones before it left in the scratch, whoever ran them.
template <class V>
struct SampleStages {
  const SampleArgs& a;
  const SampleScratch& s;

  const float* logits(int64_t b) const { return static_cast<const float*>(a.logits.data) + b * a.logits.stride[0]; }

  void scan(int64_t b, int64_t block) const {
    const int64_t from = block * kLogitBlock;
    scan_logits<V>(logits(b) + from, std::min(kLogitBlock, s.V - from), s.group_max + b * s.groups + from / kLogitGroup,
                   s.block[b * s.blocks + block]);
  }
  void begin(int64_t b, int thread) const {
    if (sample_adjusts(a, b)) sample_patch<V>(a, b, s);
    else s.max[b] = max_of_blocks(s.block + b * s.blocks, s.blocks);
    sample_begin_row(a, b, s, kSampleForm<V>, thread);
  }
  void sum(int64_t b, int64_t block) const {
    const int64_t from = block * kLogitBlock, n = std::min(kLogitBlock, s.V - from);
    if (a.logprobs.present()) {
      LogitBlock* of_row = s.block + b * s.blocks;
      of_row[block].sum = sum_logits<V>(logits(b) + from, n, max_of_blocks(of_row, s.blocks));
    }
    const SamplingParams& p = a.params[b];
    if (!sample_draws_from_groups(p, s.groups)) return;
    const bool split = sample_begins_with_top_p(p, s.V);
    const SampleKept kept = sample_kept_at_once(p, s.V, s.max[b]);
    const SampleScale scale{s.max[b], 1.0 / p.temperature};
    const int64_t first_group = b * s.groups;
    for (int64_t at = from; at < from + n; at += kLogitGroup) {
      const int64_t g = first_group + at / kLogitGroup, slot = s.patch_begin[b] < 0 ? -1 : s.slot[g];
      const float* z = slot < 0 ? logits(b) + at : s.patch + (s.patch_begin[b] + slot) * kLogitGroup;
      const int64_t size = std::min(kLogitGroup, s.V - at);
      if (s.group_max[g] < kept.z) s.group[g] = {};
      else if (split) s.group[g] = sample_split<V>(z, size, s.bracket[b], scale);
      else s.group[g].weight = sample_weigh<V>(z, size, at, kept, scale, nullptr);
    }
  }
  void finish(int64_t b, int thread) const { sample_finish_row(a, b, s, kSampleForm<V>, thread); }
};

// Many rows: each is one thread's, which finds it in its cache again from stage to stage. Few: threads share the blocks. The bits
// are the same.
template <class V>
Status sample_body(Context& ctx, const SampleArgs& a, std::byte* memory) {
  constexpr int64_t kGrain = 4;  // blocks worth waking a thread for
  const int64_t B = a.logits.shape[0];
  const SampleScratch s = sample_scratch(ctx, a, memory);
  const SampleStages<V> stages{a, s};
  const int64_t row_grain = ceil_div(kGrain, s.blocks);
  if (B >= 2 * ctx.team->size()) {
    ctx.team->split(B, row_grain, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t b = begin; b < end; ++b) {
        for (int64_t i = 0; i < s.blocks; ++i) stages.scan(b, i);
        stages.begin(b, thread);
        for (int64_t i = 0; i < s.blocks; ++i) stages.sum(b, i);
        stages.finish(b, thread);
      }
    });
    return {};
  }
  const auto for_each_block = [&](auto&& stage) {
    ctx.team->split(B * s.blocks, kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) stage(i / s.blocks, i % s.blocks);
    });
  };
  for_each_block([&](int64_t b, int64_t block) { stages.scan(b, block); });
  ctx.team->split(B, row_grain, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t b = begin; b < end; ++b) stages.begin(b, thread);
  });
  for_each_block([&](int64_t b, int64_t block) { stages.sum(b, block); });
  ctx.team->split(B, row_grain, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t b = begin; b < end; ++b) stages.finish(b, thread);
  });
  return {};
}

}  // namespace sluice
