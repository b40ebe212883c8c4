// What one request asks of sampling, and the adjustments that follow from what it has said so far.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "engine/token_uses.h"
#include "ops/sample/sample.h"

namespace sluice {

struct Sampling {
  SamplingParams params;
  std::vector<LogitBias> bias;
  std::vector<int32_t> allowed;                 // empty: all
  std::vector<std::vector<int32_t>> bad_words;  // token sequences that may not come up
  std::vector<int32_t> banned;                  // never
  std::vector<int32_t> stop_ids;                // banned until the answer has min_tokens
  int64_t min_tokens = 0;

  // Whether tokens of a vocabulary can be drawn so.
  Status check(int64_t vocab) const;
  bool plain() const {
    return params.repetition_penalty == 1 && params.presence_penalty == 0 && params.frequency_penalty == 0 && bias.empty() &&
           allowed.empty() && bad_words.empty() && banned.empty() && (stop_ids.empty() || min_tokens == 0);
  }
};

// The memory behind some SampleRow, for one step.
struct SampleRowStorage {
  std::deque<std::vector<TokenUse>> uses;
  std::deque<std::vector<int32_t>> banned;
  void clear() { uses.clear(), banned.clear(); }
};

// Follows one answer.
class SamplingState {
 public:
  SamplingState(Sampling sampling, int64_t vocab, std::span<const int32_t> prompt);
  // A token of the answer is certain.
  void add(int32_t id);
  const SamplingParams& params() const { return sampling_.params; }
  // For the token that follows `ahead`, which are guesses behind the certain ones.
  SampleRow row(std::span<const int32_t> ahead, SampleRowStorage& storage) const;

 private:
  void ban(std::span<const int32_t> ahead, std::vector<int32_t>& banned) const;

  Sampling sampling_;
  bool plain_;
  std::optional<TokenUses> uses_;  // with penalties
  std::vector<int32_t> answer_;    // for bad words
  int64_t produced_ = 0;
};

}  // namespace sluice
