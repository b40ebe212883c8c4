// A request answered token by token: prefill, then one token a call, until a stop token, the length, or the context's end.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/token_uses.h"

namespace sluice {

enum class FinishReason : unsigned char { kNone, kStop, kLength };

constexpr const char* finish_reason_name(FinishReason r) {
  return r == FinishReason::kStop ? "stop" : r == FinishReason::kLength ? "length" : "none";
}

struct GenerationParams {
  SamplingParams sampling;
  int64_t max_tokens = 256;
  std::vector<int64_t> stop_ids;
};

class Generation {
 public:
  // Continues `sequence`, which stays the caller's; its pending tokens are the prompt, or what the chat added since.
  Generation(Engine& engine, Sequence& sequence, GenerationParams params)
      : engine_(engine), sequence_(sequence), params_(std::move(params)) {}

  // The next token, the stop token included, or nothing once finished().
  Result<std::optional<SampledToken>> next(const std::function<void(int64_t)>& progress = {});
  FinishReason finished() const { return finished_; }

 private:
  Engine& engine_;
  Sequence& sequence_;
  GenerationParams params_;
  std::optional<TokenUses> uses_;  // with penalties
  int64_t produced_ = 0;
  FinishReason finished_ = FinishReason::kNone;
};

// The whole answer to `prompt`, in a sequence of its own that is closed again.
Result<std::vector<SampledToken>> generate(Engine& engine, std::vector<int32_t> prompt, GenerationParams params);

std::vector<int32_t> ids_of(std::span<const SampledToken> tokens);

}  // namespace sluice
