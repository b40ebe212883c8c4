// One choice's answer, event by event: its parts (text/tool_parser.h), and the tokens that it reasoned with.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <vector>

#include "engine/request.h"
#include "text/tool_parser.h"

namespace sluice {

class AnswerParts {
 public:
  // tools: of the request, as OutputParser takes them. parallel_calls: more than one call may come; else what follows the first is
  // left out.
  AnswerParts(const OutputFormat& format, const boost::json::value& tools, bool parallel_calls)
      : parser_(format, tools), parallel_calls_(parallel_calls) {}

  // The parts of an event's text; with the last event also what was held back.
  std::vector<OutputEvent> take(const Event& event);

  // Tokens up to the first that says something else, the tags among them.
  int64_t reasoning_tokens() const { return reasons_ && !spoke_ ? tokens_ : reasoning_tokens_; }

 private:
  OutputParser parser_;
  const bool parallel_calls_;
  int64_t tokens_ = 0, reasoning_tokens_ = 0;
  bool reasons_ = false, spoke_ = false;  // has reasoning; has anything else
};

}  // namespace sluice
