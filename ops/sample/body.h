// The body of the vector forms: two passes over the logits in blocks, then select.cc for each row.
#pragma once

#include <algorithm>

#include "core/simd.h"
#include "ops/sample/exp64.h"
#include "ops/sample/forms.h"

namespace sluice {

// Logits [i, i + 16) of n, with `fill` past the end.
template <class V>
SLUICE_INLINE typename V::F sample_load(const float* x, int64_t i, int64_t n, float fill) {
  if (i + simd::kLanes <= n) return V::load(x + i);
  float padded[simd::kLanes];
  for (int j = 0; j < simd::kLanes; ++j) padded[j] = i + j < n ? x[i + j] : fill;
  return V::load(padded);
}

// First pass over a block of n: the largest logit of each group and of all, and whether all are finite (0 * x is NaN if x is not).
template <class V>
SLUICE_INLINE void sample_scan(const float* x, int64_t n, float* group_max, SampleBlock& block) {
  auto finite = V::zero();
  block.max = x[0];
  for (int64_t g = 0; g < n; g += kSampleGroup) {
    auto max = V::set1(x[g]);
    for (int64_t i = g; i < std::min(n, g + kSampleGroup); i += simd::kLanes) {
      const auto v = sample_load<V>(x, i, n, x[g]);
      finite = V::fma(v, V::zero(), finite);
      max = V::max(max, v);
    }
    group_max[g / kSampleGroup] = V::reduce_max(max);
    block.max = std::max(block.max, group_max[g / kSampleGroup]);
  }
  block.finite = V::reduce_add(finite);
}

// Sum of e^(x - max) over a block: fp32 lanes, at most 256 terms each.
template <class V>
SLUICE_INLINE double sample_sum(const float* x, int64_t n, float max) {
  auto sum = V::zero();
  for (int64_t i = 0; i < n; i += simd::kLanes)
    sum = V::add(sum, simd::exp<V>(V::sub(sample_load<V>(x, i, n, -__builtin_inff()), V::set1(max))));
  return double(V::reduce_add(sum));
}

// Sum of e^((x - max) / temperature) over a block, in fp64.
template <class V>
SLUICE_INLINE double sample_weight(const float* x, int64_t n, float max, float temperature) {
  const double rate = 1.0 / temperature;
  Double8 sum[2] = {};
  for (int64_t i = 0; i < n; i += simd::kLanes) {
    float v[simd::kLanes];
    V::store(v, sample_load<V>(x, i, n, -__builtin_inff()));
    for (int half = 0; half < 2; ++half) sum[half] += exp64((widen8(v + 8 * half) - double(max)) * rate);
  }
  const Double8 s = sum[0] + sum[1];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// The weights of n candidates, in fp64.
template <class V>
void sample_weigh(SampleCandidate* c, int64_t n, float max, float temperature) {
  const double rate = 1.0 / temperature;
  for (int64_t i = 0; i < n; i += 8) {
    const int lanes = int(std::min<int64_t>(8, n - i));
    float x[8] = {};
    for (int j = 0; j < lanes; ++j) x[j] = c[i + j].logit;
    const Double8 w = exp64((widen8(x) - double(max)) * rate);
    for (int j = 0; j < lanes; ++j) c[i + j].weight = w[j];
  }
}

template <class V>
Status sample_body(Context& ctx, const SampleArgs& a, std::byte* memory) {
  constexpr int64_t kGrain = 4;  // blocks worth waking a thread for
  const int64_t B = a.logits.shape[0];
  const SampleScratch s = sample_scratch(a, memory);
  const auto for_each_block = [&](auto&& f) {
    ctx.team->split(B * s.blocks, kGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / s.blocks, from = i % s.blocks * kSampleBlock;
        f(b, static_cast<const float*>(a.logits.data) + b * a.logits.stride[0] + from, std::min(kSampleBlock, s.V - from),
          s.block[i], s.group_max + b * s.groups + from / kSampleGroup);
      }
    });
  };
  for_each_block(
      [](int64_t, const float* x, int64_t n, SampleBlock& block, float* group_max) { sample_scan<V>(x, n, group_max, block); });
  for_each_block([&](int64_t b, const float* x, int64_t n, SampleBlock& block, float*) {
    const float max = sample_row_max(s, b);
    block.sum = sample_sum<V>(x, n, max);
    block.weight = sample_needs_total(a.params[b], s.V) ? sample_weight<V>(x, n, max, a.params[b].temperature) : 0;
  });
  ctx.team->split(B, ceil_div(kGrain, s.blocks), [&](int64_t begin, int64_t end, int thread) {
    for (int64_t b = begin; b < end; ++b) sample_finish_row(a, b, s, sample_weigh<V>, thread);
  });
  return {};
}

}  // namespace sluice
