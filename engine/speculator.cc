#include "engine/speculator.h"

#include <algorithm>
#include <cassert>

#include "models/rows.h"

namespace sluice {
namespace {

Status no_memory() {
  return {Code::kResourceExhausted, "the draft head's rows do not fit in the workspace", "use a smaller --prefill-chunk"};
}

}  // namespace

// Row j continues the hidden row of position j - 1: of this step, or, where a sequence went on from a snapshot, kept with it.
Result<Tensor> Speculator::hidden_before(std::span<const DraftRows> rows, std::span<const Drafting> all, const StepOutput& step) {
  int64_t total = 0;
  for (const DraftRows& r : rows) total += r.end - r.sequence->drafted;
  const Tensor out = engine_.context().arena->tensor(step.hidden.dtype, {total, step.hidden.dim(1)});
  if (!out.present()) return no_memory();
  int64_t at = 0;
  for (size_t i = 0; i < rows.size(); ++i)
    for (int64_t j = rows[i].sequence->drafted; j < rows[i].end; ++j, ++at) {
      const int64_t before = j - 1;
      assert(before >= all[i].start - 1);
      if (before >= all[i].start) copy_row(step.hidden, all[i].first_row + before - all[i].start, out, at);
      else copy_row(engine_.states().resumed_hidden(), rows[i].sequence->slot, out, at);
    }
  return out;
}

Status Speculator::draft(std::span<const Drafting> all, const StepOutput& step) {
  std::vector<DraftRows> rows;
  std::vector<Drafting> mine;
  for (const Drafting& d : all) {
    Sequence& s = *d.sequence;
    s.drafts.clear();
    const int64_t end = std::min(s.computed + 1, s.length());
    if (end <= s.drafted) continue;
    rows.push_back({&s, end, d.wanted > 0});
    mine.push_back(d);
  }
  if (rows.empty()) return {};
  SLUICE_ASSIGN_OR_RETURN(const Tensor before, hidden_before(rows, mine, step));
  SLUICE_ASSIGN_OR_RETURN(const StepOutput out, engine_.draft(rows, before));
  std::vector<Guess> guesses;
  int64_t row = 0, logit = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    row += rows[i].end - rows[i].sequence->drafted;
    rows[i].sequence->drafted = rows[i].end;
    if (rows[i].logits) guesses.push_back({mine[i], row - 1, logit++});
  }
  return guess_on(std::move(guesses), out);
}

// Guess after guess: each next row has the head's own hidden row in place of the model's. It is computed again, by a later call of
// draft(), once that is known: `drafted` does not move.
Status Speculator::guess_on(std::vector<Guess> guesses, StepOutput out) {
  while (!guesses.empty()) {
    SLUICE_RETURN_IF_ERROR(draw(guesses, out.logits));
    std::erase_if(guesses, [](const Guess& g) { return int64_t(g.of.sequence->drafts.size()) >= g.of.wanted; });
    if (guesses.empty()) break;
    const int64_t count = int64_t(guesses.size());
    const Tensor before = engine_.context().arena->tensor(out.hidden.dtype, {count, out.hidden.dim(1)});
    if (!before.present()) return no_memory();
    std::vector<DraftRows> rows;
    for (int64_t i = 0; i < count; ++i) {
      Guess& g = guesses[size_t(i)];
      Sequence& s = *g.of.sequence;
      copy_row(out.hidden, g.row, before, i);
      rows.push_back({&s, s.length() + int64_t(s.drafts.size()), true});
      s.drafted = rows.back().end - 1;
      g.row = g.logit = i;
    }
    auto next = engine_.draft(rows, before);
    for (const DraftRows& r : rows) r.sequence->drafted = r.sequence->length();
    if (!next.ok()) return next.status();
    out = *next;
  }
  return {};
}

Status Speculator::draw(std::vector<Guess>& guesses, const Tensor& logits) {
  std::vector<Draw> draws;
  storage_.clear();
  for (const Guess& g : guesses) {
    const Sequence& s = *g.of.sequence;
    draws.push_back(
        {g.logit, s.length() + int64_t(s.drafts.size()), &g.of.sampling->params(), g.of.sampling->row(s.drafts, storage_)});
  }
  std::vector<SampledToken> tokens;
  SLUICE_RETURN_IF_ERROR(engine_.draw(logits, draws, tokens));
  for (size_t i = 0; i < tokens.size(); ++i) {
    Guess& g = guesses[i];
    if (tokens[i].id >= 0) g.of.sequence->drafts.push_back(tokens[i].id);
    else g.of.wanted = 0;  // the head's logits are not finite: no more guesses
  }
  return {};
}

}  // namespace sluice
