// What a model writes, as it comes, to reasoning, content and tool calls.
//
//   OutputParser parser({tool_format(template_text), reasoning_of(template_text, prompt)}, request_tools);
//   for (text as it comes) for (event : parser.push(text)) ...
//   for (event : parser.finish()) ...
//
// Where the text is cut makes no difference to what the events say when put together. Nothing is held back but what may be the
// start of a tag, the white space before it, a call until its function is known, and a parameter's value that is not a string. Time
// is linear in the text; memory is bounded by kMaxHeldBytes (text/markup.h) and the piece at hand. Nothing throws or fails: any
// text has events. Each piece is valid UTF-8; so is each event's text then. The tags must be in the text: where they are special
// tokens, the Detokenizer must not skip them.
//
// Reasoning
// - From <think>, or the text's start if the prompt has opened it (a second <think> is then markup), to </think>. A <think> that is
//   not at the start, or a </think> without one, is content. Without </think> all is reasoning.
// - A call in reasoning is one, and ends the reasoning, if its <tool_call> is at the start of a line (models forget </think>); the
//   next </think> is then markup. Any other mention of a call in reasoning stays reasoning.
//
// Calls
// - One begins where it is certain: at <tool_call> and {"name": NAME, "arguments": {, or at <tool_call>, <function=NAME> and the
//   next tag, when NAME is one of the request's tools. Then ToolCallStart comes. All else, with any broken JSON, unknown function
//   or long name (kMaxNameBytes), and a call that the text ends in before that, stays text to the byte. The search goes on behind
//   its '<', so that <tool_call><tool_call>... is content and a call.
// - XML form: <function=NAME> at the start of a line is a call without <tool_call> too (a known slip of Qwen3-Coder), and so one
//   <tool_call> may hold several functions. What ends a value: text/xml_call.h. Types: text/parameter_value.h. Other tags in values
//   are text. A parameter that comes again, or the 1025th, breaks the call.
// - JSON form: what is repaired in arguments: text/json_scanner.h. A key that comes twice stays so. The object's last '}' and
//   </tool_call> may be missing. Members after "arguments" are content, others beside "name" are passed over.
// - A call that breaks, or that the text ends in, has its arguments closed to a valid object and ends with complete = false: a
//   caller should not run it. What follows the broken place is content, and again searched for calls.
// - Without tools in the request, or with ToolFormat::kNone, none of this is looked for.
//
// White space: line ends after <think> and </think>, and white space before </think>, before a call, inside its markup, and between
// the last call and the end of the text are markup. All other is kept, and so is what is longer than kMaxSpaceBytes.
#pragma once

#include <boost/json/value.hpp>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/hermes_call.h"
#include "text/json_scanner.h"
#include "text/parameter_value.h"
#include "text/tool_schema.h"
#include "text/xml_call.h"

namespace sluice {

enum class ToolFormat {
  kNone,
  kQwenXml,     // Qwen3-Coder, Qwen3.5
  kHermesJson,  // Qwen2.5, Qwen3, Qwen3-Next
};

// The form that a chat template teaches its model.
ToolFormat tool_format(std::string_view chat_template);

enum class Reasoning {
  kOff,           // <think> has no meaning
  kModelOpens,    // if it wants to
  kPromptOpened,  // the prompt ends inside <think>
};

// By the chat template's text and the prompt that it rendered.
Reasoning reasoning_of(std::string_view chat_template, std::string_view prompt);
// Whether the prompt ends with <think> and maybe white space.
bool prompt_opens_reasoning(std::string_view prompt);

struct ReasoningDelta {
  std::string text;
};
struct ContentDelta {
  std::string text;
};
struct ToolCallStart {
  int index;  // 0, 1, ... in one answer
  std::string name;
};
// The fragments of a call put together are one JSON object.
struct ToolArgumentsDelta {
  int index;
  std::string json;
};
struct ToolCallEnd {
  int index;
  bool complete;
};
using OutputEvent = std::variant<ReasoningDelta, ContentDelta, ToolCallStart, ToolArgumentsDelta, ToolCallEnd>;

struct OutputFormat {
  ToolFormat tools = ToolFormat::kNone;
  Reasoning reasoning = Reasoning::kOff;
};

class OutputParser {
 public:
  // tools: of the request (text/tool_schema.h); null if there are none.
  OutputParser(const OutputFormat& format, const boost::json::value& tools);
  OutputParser(const OutputParser&) = delete;
  OutputParser& operator=(const OutputParser&) = delete;

  // Deltas are never empty, and two of one kind never neighbours.
  std::vector<OutputEvent> push(std::string_view text);
  // The text has ended. What is pushed afterwards is passed over.
  std::vector<OutputEvent> finish();

 private:
  enum class State { kStart, kText, kHermesHead, kHermesArguments, kXmlValueStart, kXmlValue, kCallTail };
  static constexpr size_t kMaxParameters = 1024;

  // One for each state: takes something from pending_ or changes the state; false: more text is needed.
  bool step();
  bool start();
  bool text();
  bool hermes_head();
  bool hermes_arguments();
  bool xml_value_start();
  bool xml_value();
  bool call_tail();

  // What the '<' at pending_[at] is: kYes has taken it.
  Match tag_at(size_t at);
  Match close_reasoning(size_t at);
  Match begin_hermes_call(size_t at);
  Match begin_xml_call(size_t at);
  void end_xml_value(size_t at, const XmlBoundary& boundary);

  void begin_call(const std::string& name);
  void begin_parameter(const std::string& key);
  void after_xml_tag(XmlNext next, const std::string& key);
  void add_arguments(std::string_view json);
  void end_call(bool complete, State next);

  std::string_view pending() const { return std::string_view(pending_).substr(at_); }
  char before(size_t at) const { return at > at_ ? pending_[at - 1] : before_; }
  size_t space_before(size_t at) const { return at_ + space_begin(pending().substr(0, at - at_)); }
  void take_until(size_t at);
  void take_as_text_until(size_t at);
  void take_as_value_until(size_t at);

  const OutputFormat format_;
  const ToolSchemas tools_;
  State state_ = State::kStart;
  std::vector<OutputEvent> events_;

  std::string pending_;  // text that is not decided yet, from at_ on
  size_t at_ = 0;
  char before_ = '\n';  // what came before pending_[at_]; a tag of reasoning counts as a line's end
  bool ended_ = false;

  bool in_reasoning_ = false;
  bool drops_line_ends_ = false;      // behind a tag of reasoning
  bool expects_stray_close_ = false;  // a call has ended the reasoning
  bool after_call_ = false;           // no content since

  int calls_ = 0;
  HermesHead head_;
  size_t head_tag_ = 0, head_read_ = 0;  // from at_: the <tool_call>, and how far head_ is
  JsonScanner scanner_;
  bool expects_brace_ = false;  // of the object around the arguments

  const ToolSchema* schema_ = nullptr;
  std::set<std::string, std::less<>> seen_;
  ParameterValue value_;
  bool value_fresh_ = false;  // nothing of it is taken
};

struct ParsedToolCall {
  std::string name, arguments;
  bool complete = false;
};

struct ParsedOutput {
  std::string reasoning, content;
  std::vector<ParsedToolCall> calls;
};

// A whole text, by the same parser.
ParsedOutput parse_output(std::string_view text, const OutputFormat& format, const boost::json::value& tools);

}  // namespace sluice
