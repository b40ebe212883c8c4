// Answers that the demo model cannot give, as the engine would tell of them, for the tests of this folder.
#pragma once

#include <string>

#include "server/answer_stream.h"
#include "server/test_service.h"
#include "text/tool_parser.h"

namespace sluice::testing {

inline boost::json::value script_tools() {
  return json_of(R"([{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties":
      {"a": {"type": "integer"}, "note": {"type": "string"}}}}},
      {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}])");
}

struct Script {
  std::string text;
  size_t piece = 3;  // bytes an event
  FinishReason finish = FinishReason::kStop;
  std::string stop_string = {};
  bool fails = false;  // instead of its end
  OutputFormat format = {ToolFormat::kHermesJson, Reasoning::kModelOpens};
  bool parallel = true, include_reasoning = true;
};

inline void play(const Script& s, AnswerSink& sink) {
  sink.begin();
  Usage usage = {.prompt_tokens = 4, .cached_tokens = 1, .drafted = 5, .accepted = 3};
  for (size_t at = 0; at < s.text.size(); at += s.piece) {
    Event e;
    e.text = s.text.substr(at, s.piece);
    e.tokens.push_back({{.id = 5, .logprob = -1}, {}});
    ++usage.completion_tokens;
    e.usage = usage;
    sink.event(0, e);
  }
  if (s.fails) return sink.fail({.status = 503, .message = "gone"}, true);
  Event last;
  last.finish = s.finish;
  last.stop_string = s.stop_string;
  last.usage = usage;
  sink.event(0, last);
  sink.end();
}

inline constexpr const char* kTwoCalls = R"(<think>
which?
</think>

I add.
<tool_call>
{"name": "add", "arguments": {"a": 41, "note": "x"}}
</tool_call>
<tool_call>
{"name": "now", "arguments": {}}
</tool_call>)";

}  // namespace sluice::testing
