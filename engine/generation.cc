#include "engine/generation.h"

#include <algorithm>

namespace sluice {
namespace {

bool penalizes(const SamplingParams& p) { return p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0; }

}  // namespace

Result<std::optional<SampledToken>> Generation::next(const std::function<void(int64_t)>& progress) {
  if (finished_ != FinishReason::kNone) return std::optional<SampledToken>();
  if (params_.max_tokens <= 0) {
    finished_ = FinishReason::kLength;
    return std::optional<SampledToken>();
  }
  SLUICE_ASSIGN_OR_RETURN(const Tensor logits, engine_.prefill(sequence_, progress));
  if (!uses_ && penalizes(params_.sampling)) uses_.emplace(engine_.model().config().vocab_size, sequence_.tokens);
  const SampleRow adjust{.used = uses_ ? uses_->all() : std::span<const TokenUse>()};
  SLUICE_ASSIGN_OR_RETURN(const SampledToken token, engine_.draw(sequence_, logits, 0, params_.sampling, adjust));
  if (uses_) uses_->add_output(token.id);
  ++produced_;
  const bool full = int64_t(sequence_.tokens.size()) >= engine_.max_context();
  if (std::ranges::count(params_.stop_ids, int64_t(token.id))) finished_ = FinishReason::kStop;
  else if (produced_ >= params_.max_tokens || full) finished_ = FinishReason::kLength;
  if (!full) SLUICE_RETURN_IF_ERROR(engine_.append(sequence_, token.id));
  return std::optional<SampledToken>(token);
}

Result<std::vector<SampledToken>> generate(Engine& engine, std::vector<int32_t> prompt, GenerationParams params) {
  SLUICE_ASSIGN_OR_RETURN(const auto sequence, engine.open(std::move(prompt)));
  Generation generation(engine, *sequence, std::move(params));
  std::vector<SampledToken> tokens;
  auto token = generation.next();
  for (; token.ok() && *token; token = generation.next()) tokens.push_back(**token);
  engine.close(*sequence);
  if (!token.ok()) return token.status();
  return tokens;
}

std::vector<int32_t> ids_of(std::span<const SampledToken> tokens) {
  std::vector<int32_t> ids;
  for (const SampledToken& t : tokens) ids.push_back(t.id);
  return ids;
}

}  // namespace sluice
