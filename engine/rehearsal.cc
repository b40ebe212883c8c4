#include "engine/rehearsal.h"

#include <algorithm>
#include <deque>

#include "base/checked.h"
#include "engine/sampling.h"
#include "engine/scheduler.h"
#include "engine/speculator.h"
#include "ops/token_logprobs/token_logprobs.h"

namespace sluice {
namespace {

// All that takes workspace when a token is drawn.
Sampling everything() { return {.params = {.temperature = 1, .top_p = 0.9f, .min_p = 0.01f, .repetition_penalty = 1.1f}}; }

class Rehearsal {
 public:
  explicit Rehearsal(Engine& engine)
      : engine_(engine), ahead_(engine.options().speculate), sampling_(everything(), engine.model().config().vocab_size, {}) {}

  void decode(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      Sequence& s = add(1);
      s.drafts.assign(size_t(ahead_), 0);
      work_.push_back({&s, 1 + ahead_, WantLogits::kAll, ahead_ > 0});
    }
  }
  void prefill(int64_t tokens, WantLogits logits) {
    if (tokens > 0) work_.push_back({&add(tokens), tokens, logits});
  }

  // In the order of a scheduler's step.
  Status run() {
    SLUICE_ASSIGN_OR_RETURN(const StepOutput out, engine_.step(work_));
    SLUICE_RETURN_IF_ERROR(use_logits(out.logits));
    if (ahead_ > 0) SLUICE_RETURN_IF_ERROR(draft(out));
    return engine_.wait();
  }

 private:
  Sequence& add(int64_t tokens) {
    Sequence& s = sequences_.emplace_back();
    s.tokens.assign(size_t(tokens), 0);
    s.pages.assign(size_t(ceil_div(tokens + 1 + 2 * ahead_, KvPool::kPageTokens)), 0);
    s.slot = 0;
    return s;
  }

  // Rows of whole prompts are scored, from the others a token is drawn.
  Status use_logits(const Tensor& logits) {
    std::vector<Draw> draws;
    std::vector<Score> scores;
    SampleRowStorage storage;
    int64_t row = 0;
    for (const Work& w : work_) {
      const bool scored = w.logits == WantLogits::kAll && w.sequence->drafts.empty() && w.count > 1;
      for (int64_t i = w.logits == WantLogits::kAll ? 0 : w.count - 1; i < w.count; ++i, ++row) {
        if (scored) scores.push_back({row, 0, kMostTokenLogprobs});
        else draws.push_back({row, i, &sampling_.params(), sampling_.row({}, storage), kMostTokenLogprobs});
      }
    }
    std::vector<SampledToken> tokens;
    if (!draws.empty()) SLUICE_RETURN_IF_ERROR(engine_.draw(logits, draws, tokens));
    if (!scores.empty()) SLUICE_RETURN_IF_ERROR(engine_.score(logits, scores, tokens));
    return {};
  }

  Status draft(const StepOutput& out) {
    std::vector<Drafting> all;
    int64_t row = 0;
    for (const Work& w : work_) {
      w.sequence->computed = w.count;
      w.sequence->tokens.assign(size_t(w.count + 1), 0);
      all.push_back({w.sequence, &sampling_, row, 0, ahead_});
      row += w.count;
    }
    return Speculator(engine_).draft(all, out);
  }

  Engine& engine_;
  const int64_t ahead_;
  const SamplingState sampling_;
  std::deque<Sequence> sequences_;
  std::vector<Work> work_;
};

}  // namespace

Status rehearse(Engine& engine, int64_t prompt_tokens) {
  const EngineOptions& o = engine.options();
  const int64_t others = std::max<int64_t>(0, o.max_sequences - 2);
  const int64_t scored = std::min(prompt_tokens, kMostScoredRows);
  Rehearsal mixed(engine), alone(engine);
  mixed.decode(others);
  mixed.prefill(scored, WantLogits::kAll);
  mixed.prefill(prompt_tokens - scored, WantLogits::kLast);
  SLUICE_RETURN_IF_ERROR(mixed.run());
  alone.prefill(prompt_tokens, WantLogits::kLast);
  SLUICE_RETURN_IF_ERROR(alone.run());
  for (int64_t count = 1;; count = std::min(2 * count, o.max_sequences)) {  // kernels are chosen by the number of rows
    Rehearsal decoding(engine);
    decoding.decode(count);
    SLUICE_RETURN_IF_ERROR(decoding.run());
    if (count == o.max_sequences) return {};
  }
}

}  // namespace sluice
