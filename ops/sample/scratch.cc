// The workspace of the vector forms.
#include "ops/sample/scratch.h"

#include <algorithm>

namespace sluice {
namespace {

// At most so many groups of a row have patches.
int64_t patches_of(const SampleArgs& a, int64_t b, int64_t groups) {
  if (!sample_adjusts(a, b)) return 0;
  const SampleRow& row = a.rows[b];
  return std::min<int64_t>(groups, int64_t(row.used.size() + row.bias.size() + row.banned.size() + row.allowed.size()));
}

int64_t all_patches(const SampleArgs& a, int64_t groups) {
  int64_t sum = 0;
  for (int64_t b = 0; b < a.logits.shape[0]; ++b) sum += patches_of(a, b, groups);
  return sum;
}

// Gives each array its place, on cache lines of its own; with no memory, only counts.
struct Places {
  std::byte* memory;
  size_t used = 0;
  template <class T>
  void place(T*& array, int64_t count) {
    array = memory ? reinterpret_cast<T*>(memory + used) : nullptr;
    used += size_t(round_up(count * int64_t(sizeof(T)), kCacheLine));
  }
};

SampleScratch place_all(const Context& ctx, const SampleArgs& a, Places& places) {
  const int64_t B = a.logits.shape[0], V = a.logits.shape[1], threads = ctx.team->size();
  SampleScratch s{.V = V, .groups = ceil_div(V, kLogitGroup), .blocks = ceil_div(V, kLogitBlock)};
  places.place(s.block, B * s.blocks);
  places.place(s.group_max, B * s.groups);
  places.place(s.group, B * s.groups);
  places.place(s.slot, a.rows.empty() ? 0 : B * s.groups);
  places.place(s.patch_begin, B);
  places.place(s.patch, all_patches(a, s.groups) * kLogitGroup);
  places.place(s.max, B);
  places.place(s.bracket, B);
  places.place(s.bins, threads * kSampleBins);
  places.place(s.candidate, threads * V);
  return s;
}

}  // namespace

bool sample_adjusts(const SampleArgs& a, int64_t b) {
  if (a.rows.empty()) return false;
  const SampleRow& row = a.rows[b];
  const SamplingParams& p = a.params[b];
  const bool penalizes = p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0;
  return (penalizes && !row.used.empty()) || !row.bias.empty() || !row.banned.empty() || !row.allowed.empty();
}

size_t sample_workspace(const Context& ctx, const SampleArgs& a) {
  Places places{nullptr};
  place_all(ctx, a, places);
  return places.used;
}

SampleScratch sample_scratch(const Context& ctx, const SampleArgs& a, std::byte* memory) {
  Places places{memory};
  const SampleScratch s = place_all(ctx, a, places);
  int64_t begin = 0;
  for (int64_t b = 0; b < a.logits.shape[0]; ++b) {
    const int64_t patches = patches_of(a, b, s.groups);
    s.patch_begin[b] = patches > 0 ? begin : -1;
    begin += patches;
  }
  return s;
}

}  // namespace sluice
