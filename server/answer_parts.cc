#include "server/answer_parts.h"

#include <iterator>

namespace sluice {
namespace {

// The number of the call that a part belongs to; 0 also for what is no call.
int call_index(const OutputEvent& part) {
  if (const auto* start = std::get_if<ToolCallStart>(&part)) return start->index;
  if (const auto* arguments = std::get_if<ToolArgumentsDelta>(&part)) return arguments->index;
  if (const auto* end = std::get_if<ToolCallEnd>(&part)) return end->index;
  return 0;
}

}  // namespace

std::vector<OutputEvent> AnswerParts::take(const Event& e) {
  std::vector<OutputEvent> parts = parser_.push(e.text);
  if (e.finish != FinishReason::kNone) {
    std::vector<OutputEvent> rest = parser_.finish();
    std::move(rest.begin(), rest.end(), std::back_inserter(parts));
  }
  for (const OutputEvent& part : parts) {
    if (std::holds_alternative<ReasoningDelta>(part)) reasons_ = true;
    else if (!std::exchange(spoke_, true) && reasons_) reasoning_tokens_ = tokens_;
  }
  tokens_ += int64_t(e.tokens.size());
  if (!parallel_calls_) std::erase_if(parts, [](const OutputEvent& part) { return call_index(part) > 0; });
  return parts;
}

}  // namespace sluice
