#include "engine/sampling.h"

#include <algorithm>

namespace sluice {

Status Sampling::check(int64_t vocab) const {
  SLUICE_RETURN_IF_ERROR(check_sample_row(params, {.bias = bias, .banned = banned, .allowed = allowed}, vocab));
  for (const auto& word : bad_words) SLUICE_RETURN_IF_ERROR(check_sample_row({}, {.banned = word}, vocab).in("bad_words"));
  if (min_tokens <= 0) return {};  // else stop_ids are banned at first
  return check_sample_row({}, {.banned = stop_ids}, vocab).in("stop_ids");
}

SamplingState::SamplingState(Sampling sampling, int64_t vocab, std::span<const int32_t> prompt) : sampling_(std::move(sampling)) {
  const SamplingParams& p = sampling_.params;
  plain_ = sampling_.plain();
  if (p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0) uses_.emplace(vocab, prompt);
}

void SamplingState::add(int32_t id) {
  ++produced_;
  if (uses_) uses_->add_output(id);
  if (!sampling_.bad_words.empty()) answer_.push_back(id);
}

SampleRow SamplingState::row(std::span<const int32_t> ahead, SampleRowStorage& storage) const {
  if (plain_) return {};
  SampleRow row{.bias = sampling_.bias, .allowed = sampling_.allowed};
  if (uses_ && ahead.empty()) row.used = uses_->all();
  else if (uses_) {
    auto& uses = storage.uses.emplace_back(uses_->all().begin(), uses_->all().end());
    for (const int32_t id : ahead) {
      const auto it = std::ranges::find(uses, id, &TokenUse::id);
      if (it != uses.end()) ++it->out_count;
      else uses.push_back({.id = id, .in_prompt = false, .out_count = 1});
    }
    row.used = uses;
  }
  auto& banned = storage.banned.emplace_back();
  ban(ahead, banned);
  row.banned = banned;
  return row;
}

void SamplingState::ban(std::span<const int32_t> ahead, std::vector<int32_t>& banned) const {
  banned = sampling_.banned;
  if (produced_ + int64_t(ahead.size()) < sampling_.min_tokens)
    banned.insert(banned.end(), sampling_.stop_ids.begin(), sampling_.stop_ids.end());
  const auto said = [&](size_t back) {  // the token `back` before the next
    return back <= ahead.size() ? ahead[ahead.size() - back] : answer_[answer_.size() - (back - ahead.size())];
  };
  for (const auto& word : sampling_.bad_words) {
    const size_t before = word.size() - 1;
    if (word.empty() || before > answer_.size() + ahead.size()) continue;
    bool begun = true;
    for (size_t i = 0; begun && i < before; ++i) begun = said(before - i) == word[i];
    if (begun) banned.push_back(word.back());
  }
  std::ranges::sort(banned);
  const auto repeated = std::ranges::unique(banned);
  banned.erase(repeated.begin(), repeated.end());
}

}  // namespace sluice
