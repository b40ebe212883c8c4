#include "engine/answer_text.h"

#include <algorithm>

namespace sluice {
namespace {

// Length of the longest end of `text` that is a beginning of `stop`, and not all of it.
size_t begun(const std::string& text, const std::string& stop) {
  for (size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n)
    if (text.compare(text.size() - n, n, stop, 0, n) == 0) return n;
  return 0;
}

}  // namespace

std::string AnswerText::release(const std::string& piece) {
  if (stopped_) return {};
  held_ += piece;
  // The stop string that is complete first counts, however the text came in pieces; of two that end together, the longer.
  size_t cut = std::string::npos, first_end = std::string::npos, hold = 0;
  for (const std::string& stop : stops_) {
    if (stop.empty()) continue;
    const size_t at = held_.find(stop);
    if (at != std::string::npos && std::pair(at + stop.size(), at) < std::pair(first_end, cut))
      cut = at, first_end = at + stop.size(), stop_string_ = stop;
    hold = std::max(hold, begun(held_, stop));
  }
  stopped_ = cut != std::string::npos;
  const std::string out = held_.substr(0, !stopped_ ? held_.size() - hold : include_stop_ ? first_end : cut);
  held_.erase(0, stopped_ ? std::string::npos : out.size());
  return out;
}

std::string AnswerText::finish() {
  std::string out = release(detokenizer_.finish());
  if (!stopped_) out += std::exchange(held_, {});
  return out;
}

}  // namespace sluice
