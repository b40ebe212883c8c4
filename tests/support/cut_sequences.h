// Ways to bring one sequence through an engine, each giving the logits of its positions: however it is cut, verified or batched,
// they must be the same (same_bits_test: to the last bit; device_test: as on the CPU).
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/memory.h"
#include "engine/engine.h"

namespace sluice::testing {

inline std::vector<int32_t> random_ids(int64_t count, uint64_t seed, int64_t vocab) {
  std::mt19937_64 rng(seed);
  std::vector<int32_t> ids(static_cast<size_t>(count));
  for (auto& id : ids) id = int32_t(rng() % uint64_t(vocab));
  return ids;
}

// Appends the first `count` rows of logits of a step; false, with a failed test, where there are none.
inline bool keep_logits(Engine& e, const Result<StepOutput>& step, int64_t count, std::vector<float>& out) {
  const auto rows =
      step.ok() ? host_copy<float>(e.context(), step->logits.slice(0, 0, count)) : Result<std::vector<float>>(step.status());
  EXPECT_TRUE(rows.ok()) << rows.status().to_string();
  if (rows.ok()) out.insert(out.end(), rows->begin(), rows->end());
  return rows.ok();
}

// Computes what is pending in steps of `piece` tokens.
inline std::vector<float> compute_in_pieces(Engine& e, Sequence& s, int64_t piece) {
  std::vector<float> out;
  while (s.pending() > 0) {
    const Work work{&s, std::min(piece, s.pending()), WantLogits::kAll};
    if (!keep_logits(e, e.step({&work, 1}), work.count, out)) break;
  }
  return out;
}

inline std::vector<float> in_pieces(Engine& e, const std::vector<int32_t>& ids, int64_t piece) {
  auto s = e.open(ids).value();
  std::vector<float> out = compute_in_pieces(e, *s, piece);
  e.close(*s);
  return out;
}

// Steps of four drafts, of which `taken` are accepted; the rest is drafted wrongly first and computed again.
inline std::vector<float> verified(Engine& e, const std::vector<int32_t>& ids, int64_t taken) {
  auto s = e.open({ids[0]}).value();
  std::vector<float> out;
  while (s->computed < int64_t(ids.size())) {
    const int64_t at = s->computed, left = int64_t(ids.size()) - at;
    const int64_t count = std::min({int64_t(4), left, kChunk - at % kChunk}), good = std::min(taken, count);
    s->tokens.assign(ids.begin(), ids.begin() + at + count);
    for (int64_t i = good; i < count; ++i) s->tokens[size_t(at + i)] ^= 1;  // a draft that will be rejected
    const Work work{s.get(), count, WantLogits::kAll, true};
    const auto step = e.step({&work, 1});
    if (!keep_logits(e, step, good, out)) break;
    EXPECT_TRUE(e.accept(*s, good, step->hidden.slice(0, good - 1, good)).ok());
  }
  e.close(*s);
  return out;
}

// Of the first of several sequences in the same steps.
inline std::vector<float> among_others(Engine& e, const std::vector<int32_t>& ids,
                                       const std::vector<std::vector<int32_t>>& others) {
  std::vector<std::unique_ptr<Sequence>> all;
  all.push_back(e.open(ids).value());
  for (const auto& other : others) all.push_back(e.open(other).value());
  std::vector<float> out;
  while (all[0]->pending() > 0) {
    std::vector<Work> work;
    for (auto& s : all)
      if (s->pending() > 0) work.push_back({s.get(), std::min<int64_t>(50, s->pending()), WantLogits::kAll});
    if (!keep_logits(e, e.step(work), work[0].count, out)) break;
  }
  for (auto& s : all) e.close(*s);
  return out;
}

// From a snapshot after 128 tokens on, taken while its sequence stands at 150, which goes on before it is of use.
inline std::vector<float> resumed(Engine& e, const std::vector<int32_t>& ids) {
  constexpr int64_t kSnapshot = 128, kStands = 150;
  auto s = e.open(ids).value();
  const Work first{s.get(), kStands, WantLogits::kNone};
  EXPECT_TRUE(e.step({&first, 1}).ok());
  const int32_t snapshot = e.states().snapshot(s->slot).value();
  const Work rest{s.get(), s->pending(), WantLogits::kNone};
  EXPECT_TRUE(e.step({&rest, 1}).ok());
  auto again = e.open(ids).value();
  e.states().release(again->slot);
  again->slot = e.states().resume(snapshot).value();
  again->pages.assign(s->pages.begin(), s->pages.begin() + kSnapshot / KvPool::kPageTokens);  // shared
  for (const int32_t page : again->pages) e.kv().retain(page);
  again->computed = kSnapshot;
  std::vector<float> out = compute_in_pieces(e, *again, again->pending());
  e.close(*s), e.close(*again), e.states().release_snapshot(snapshot);
  return out;
}

}  // namespace sluice::testing
