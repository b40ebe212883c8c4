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
  std::vector<int32_t> of_step, resumed;  // the row of the one, or the slot of the other; -1
  for (size_t i = 0; i < rows.size(); ++i)
    for (int64_t before = rows[i].sequence->drafted - 1; before < rows[i].end - 1; ++before) {
      assert(before >= all[i].start - 1);
      const bool here = before >= all[i].start;
      of_step.push_back(here ? int32_t(all[i].first_row + before - all[i].start) : -1);
      resumed.push_back(here ? -1 : rows[i].sequence->slot);
    }
  Context& ctx = engine_.context();
  const int64_t total = int64_t(of_step.size());
  const Tensor out = ctx.arena->tensor(step.hidden.dtype, {total, step.hidden.dim(1)});
  if (!out.present()) return no_memory();
  Tensor from_step, from_slot;
  SLUICE_RETURN_IF_ERROR(
      bring(ctx, {{&from_step, Tensor::of(of_step.data(), {total})}, {&from_slot, Tensor::of(resumed.data(), {total})}}));
  SLUICE_RETURN_IF_ERROR(copy_rows(ctx, {.x = step.hidden, .out = out, .from = from_step}));
  SLUICE_RETURN_IF_ERROR(copy_rows(ctx, {.x = engine_.states().resumed_hidden(), .out = out, .from = from_slot}));
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
    std::vector<int32_t> hidden_rows;
    std::vector<DraftRows> rows;
    for (size_t i = 0; i < guesses.size(); ++i) {
      Guess& g = guesses[i];
      Sequence& s = *g.of.sequence;
      hidden_rows.push_back(int32_t(g.row));
      rows.push_back({&s, s.length() + int64_t(s.drafts.size()), true});
      s.drafted = rows.back().end - 1;
      g.row = g.logit = int64_t(i);
    }
    SLUICE_ASSIGN_OR_RETURN(const Tensor before, gather_rows(engine_.context(), out.hidden, hidden_rows));
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
