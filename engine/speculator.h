// Guesses the tokens that follow, for a step that verifies them.
//
// The draft head reads every token once with the hidden row of the position before it, so that its keys are those of a run without
// speculation, whatever was accepted. Its guess is drawn with the request's own sampling parameters, seed and position, and so is
// the model's token that judges it: with the same random number both choose alike where their distributions do. A draft counts
// if it is the very token that the model draws, so the text is that of decoding without drafts, and its distribution too: a token
// is accepted with the probability that the model gives it, as rejection sampling does with a draft that is certain of itself.
#pragma once

#include <span>
#include <vector>

#include "engine/engine.h"

namespace sluice {

// A sequence after its part of a step: rows [first_row, ...) of the output are those of positions [start, ...).
struct Drafting {
  Sequence* sequence = nullptr;
  const SamplingState* sampling = nullptr;
  int64_t first_row = 0, start = 0;
  int64_t wanted = 0;  // drafts; 0: only the head's rows are brought up to date
};

class Speculator {
 public:
  explicit Speculator(Engine& engine) : engine_(engine) {}
  // Fills sequence->drafts of each. Needs pages for all tokens and drafts.
  Status draft(std::span<const Drafting> all, const StepOutput& step);

 private:
  struct Guess {
    Drafting of;
    int64_t row = 0, logit = 0;  // in the head's last output
  };
  Status guess_on(std::vector<Guess> guesses, StepOutput out);
  Status draw(std::vector<Guess>& guesses, const Tensor& logits);
  // The row of the step before position `drafted` on, one for each draft row of each sequence.
  Result<Tensor> hidden_before(std::span<const DraftRows> rows, std::span<const Drafting> all, const StepOutput& step);

  Engine& engine_;
  SampleRowStorage storage_;
};

}  // namespace sluice
