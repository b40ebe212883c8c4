#include "text/tool_parser.h"

#include <utility>

namespace sluice {
namespace {

bool contains(std::string_view text, std::string_view wanted) { return text.find(wanted) != std::string_view::npos; }

}  // namespace

ToolFormat tool_format(std::string_view chat_template) {
  if (!contains(chat_template, kCallOpen)) return ToolFormat::kNone;
  if (contains(chat_template, kFunctionOpen) && contains(chat_template, kParameterOpen)) return ToolFormat::kQwenXml;
  // The quotes may be those of a string literal's text.
  const bool json = contains(chat_template, "\"arguments\"") || contains(chat_template, "\\\"arguments\\\"");
  return json ? ToolFormat::kHermesJson : ToolFormat::kNone;
}

bool prompt_opens_reasoning(std::string_view prompt) { return trim(prompt).ends_with(kThinkOpen); }

Reasoning reasoning_of(std::string_view chat_template, std::string_view prompt) {
  if (prompt_opens_reasoning(prompt)) return Reasoning::kPromptOpened;
  return contains(chat_template, kThinkClose) ? Reasoning::kModelOpens : Reasoning::kOff;
}

OutputParser::OutputParser(const OutputFormat& format, const boost::json::value& tools)
    : format_(format), tools_(format.tools == ToolFormat::kNone ? boost::json::value() : tools), head_(tools_) {}

std::vector<OutputEvent> OutputParser::push(std::string_view text) {
  if (ended_) return {};
  pending_ += text;
  while (step()) {
  }
  pending_.erase(0, at_);
  at_ = 0;
  return std::exchange(events_, {});
}

std::vector<OutputEvent> OutputParser::finish() {
  if (ended_) return {};
  ended_ = true;
  while (step()) {
  }
  return std::exchange(events_, {});
}

bool OutputParser::step() {
  switch (state_) {
    case State::kStart:
      return start();
    case State::kText:
      return text();
    case State::kHermesHead:
      return hermes_head();
    case State::kHermesArguments:
      return hermes_arguments();
    case State::kXmlValueStart:
      return xml_value_start();
    case State::kXmlValue:
      return xml_value();
    default:
      return call_tail();
  }
}

// ---- reasoning and content

bool OutputParser::start() {
  state_ = State::kText;
  if (format_.reasoning == Reasoning::kOff) return true;
  MarkupReader reader(pending(), ended_);
  reader.spaces();
  const Match match = reader.result(reader.literal(kThinkOpen));
  if (match == Match::kNeedMore) {
    state_ = State::kStart;
    return false;
  }
  in_reasoning_ = drops_line_ends_ = match == Match::kYes || format_.reasoning == Reasoning::kPromptOpened;
  if (match == Match::kYes) take_until(at_ + reader.taken());
  before_ = '\n';
  return true;
}

bool OutputParser::text() {
  while (drops_line_ends_ && at_ < pending_.size()) {
    drops_line_ends_ = pending_[at_] == '\n' || pending_[at_] == '\r';
    if (drops_line_ends_) ++at_;
  }
  for (size_t at = pending_.find('<', at_); at != std::string::npos; at = pending_.find('<', at + 1)) {
    const Match match = tag_at(at);
    if (match == Match::kYes) return true;
    if (match == Match::kNeedMore) return take_as_text_until(space_before(at)), false;
  }
  const size_t space = space_before(pending_.size());
  if (!ended_) {
    take_as_text_until(space);
  } else if (after_call_ && space == at_) {
    take_until(pending_.size());
  } else {
    take_as_text_until(pending_.size());
  }
  return false;
}

Match OutputParser::tag_at(size_t at) {
  if (in_reasoning_ || expects_stray_close_) {
    const Match match = close_reasoning(at);
    if (match != Match::kNo) return match;
  }
  if (tools_.empty()) return Match::kNo;
  if (in_reasoning_ && before(at) != '\n') return Match::kNo;
  return format_.tools == ToolFormat::kQwenXml ? begin_xml_call(at) : begin_hermes_call(at);
}

Match OutputParser::close_reasoning(size_t at) {
  MarkupReader reader(std::string_view(pending_).substr(at), ended_);
  const Match match = reader.result(reader.literal(kThinkClose));
  if (match != Match::kYes) return match;
  take_as_text_until(space_before(at));
  take_until(at + reader.taken());
  before_ = '\n';
  in_reasoning_ = expects_stray_close_ = false;
  drops_line_ends_ = true;
  return match;
}

// ---- calls

void OutputParser::begin_call(const std::string& name) {
  if (in_reasoning_) expects_stray_close_ = true;
  in_reasoning_ = false;
  events_.push_back(ToolCallStart{calls_, name});
}

void OutputParser::add_arguments(std::string_view json) {
  if (json.empty()) return;
  ToolArgumentsDelta* last = events_.empty() ? nullptr : std::get_if<ToolArgumentsDelta>(&events_.back());
  if (last) {
    last->json += json;
  } else {
    events_.push_back(ToolArgumentsDelta{calls_, std::string(json)});
  }
}

void OutputParser::end_call(bool complete, State next) {
  events_.push_back(ToolCallEnd{calls_++, complete});
  after_call_ = true;
  state_ = next;
}

// What may still belong to the call: the last brace of its object, </tool_call>.
bool OutputParser::call_tail() {
  MarkupReader reader(pending(), ended_);
  reader.spaces();
  const Match match = reader.result(reader.literal(expects_brace_ ? "}" : kCallClose));
  if (match == Match::kNeedMore) return false;
  if (match == Match::kYes) take_until(at_ + reader.taken());
  if (!expects_brace_) state_ = State::kText;
  expects_brace_ = false;
  return true;
}

// ---- calls in JSON

Match OutputParser::begin_hermes_call(size_t at) {
  MarkupReader reader(std::string_view(pending_).substr(at), ended_);
  if (!reader.literal(kCallOpen)) return reader.result(false);
  reader.spaces();
  const size_t tag_end = reader.taken();
  const Match match = reader.result(reader.literal("{"));
  if (match != Match::kYes) return match;
  take_as_text_until(space_before(at));
  head_ = HermesHead(tools_);
  head_tag_ = at - at_;
  head_read_ = head_tag_ + tag_end;
  state_ = State::kHermesHead;
  return match;
}

bool OutputParser::hermes_head() {
  head_read_ += head_.feed(pending().substr(head_read_));
  const HermesHead::State state = head_.state();
  if (state == HermesHead::State::kReading && !ended_) return false;
  if (state == HermesHead::State::kReading || state == HermesHead::State::kNotACall) {
    take_as_text_until(at_ + head_tag_ + 1);
    state_ = State::kText;
    return true;
  }
  take_until(at_ + head_read_);
  begin_call(head_.name());
  if (state == HermesHead::State::kWhole) {
    add_arguments(head_.arguments());
    end_call(true, State::kCallTail);
  } else {
    scanner_ = {};
    state_ = State::kHermesArguments;
  }
  return true;
}

bool OutputParser::hermes_arguments() {
  std::string json;
  take_until(at_ + scanner_.feed(pending(), json));
  const JsonScanner::State state = scanner_.state();
  if (state == JsonScanner::State::kReading && !ended_) return add_arguments(json), false;
  scanner_.close(json);
  add_arguments(json);
  expects_brace_ = state == JsonScanner::State::kDone;
  end_call(expects_brace_, State::kCallTail);
  return true;
}

// ---- calls in XML

Match OutputParser::begin_xml_call(size_t at) {
  const std::string_view here = std::string_view(pending_).substr(at);
  // Without <tool_call>, only where nothing but the answer's own call is likely to stand.
  const bool bare = here.starts_with(kFunctionOpen.substr(0, 2));
  if (bare && (in_reasoning_ || before(at) != '\n')) return Match::kNo;
  XmlHead head;
  const Match match = match_xml_head(here, ended_, tools_, head);
  if (match != Match::kYes) return match;
  take_as_text_until(space_before(at));
  take_until(at + head.length);
  begin_call(head.name);
  add_arguments("{");
  schema_ = tools_.find(head.name);
  seen_.clear();
  after_xml_tag(head.next, head.key);
  return match;
}

void OutputParser::after_xml_tag(XmlNext next, const std::string& key) {
  if (next == XmlNext::kParameter) return begin_parameter(key);
  add_arguments("}");
  end_call(next != XmlNext::kTextEnd, next == XmlNext::kFunctionEnd ? State::kCallTail : State::kText);
}

void OutputParser::begin_parameter(const std::string& key) {
  std::string json = seen_.empty() ? "\"" : ", \"";
  append_json_escaped(json, key);
  json += "\": ";
  seen_.insert(key);
  const auto declared = schema_->parameters.find(key);
  value_.begin(declared == schema_->parameters.end() ? JsonTypes(0) : declared->second, json);
  add_arguments(json);
  state_ = State::kXmlValueStart;
}

bool OutputParser::xml_value_start() {
  if (at_ == pending_.size() && !ended_) return false;
  if (at_ < pending_.size() && pending_[at_] == '\n') take_until(at_ + 1);
  value_fresh_ = true;
  state_ = State::kXmlValue;
  return true;
}

bool OutputParser::xml_value() {
  const auto is_due = [&](std::string_view key) { return schema_->parameters.count(key) != 0 && seen_.count(key) == 0; };
  // The line end before a closing tag is not part of the value.
  const auto value_end = [&](size_t at) { return at > at_ && pending_[at - 1] == '\n' ? at - 1 : at; };
  for (size_t at = pending_.find('<', at_); at != std::string::npos; at = pending_.find('<', at + 1)) {
    const bool line_start = at == at_ ? value_fresh_ : pending_[at - 1] == '\n';
    XmlBoundary boundary;
    const Match match = match_xml_boundary(std::string_view(pending_).substr(at), ended_, line_start, is_due, boundary);
    if (match == Match::kNo) continue;
    take_as_value_until(value_end(at));
    if (match == Match::kYes) end_xml_value(at, boundary);
    return match == Match::kYes;
  }
  take_as_value_until(ended_ ? pending_.size() : value_end(pending_.size()));
  if (ended_) end_xml_value(pending_.size(), {});
  return ended_;
}

// The boundary is at pending_[at].
void OutputParser::end_xml_value(size_t at, const XmlBoundary& boundary) {
  std::string json;
  value_.end(json);
  add_arguments(json);
  take_until(at + boundary.length);
  const bool once = seen_.size() < kMaxParameters && seen_.count(boundary.key) == 0;
  if (boundary.next != XmlNext::kParameter || once) return after_xml_tag(boundary.next, boundary.key);
  // Two of one name have no place in an object: the call breaks before this one's tag.
  at_ -= kParameterOpen.size() + boundary.key.size() + 1;
  after_xml_tag(XmlNext::kTextEnd, "");
}

// ---- pending text

void OutputParser::take_until(size_t at) {
  before_ = before(at);
  at_ = at;
}

void OutputParser::take_as_text_until(size_t at) {
  if (at == at_) return;
  const std::string_view text = pending().substr(0, at - at_);
  const auto append = [&]<class Delta>(Delta* last) {
    if (last) {
      last->text += text;
    } else {
      events_.push_back(Delta{std::string(text)});
    }
  };
  if (in_reasoning_) {
    append(events_.empty() ? nullptr : std::get_if<ReasoningDelta>(&events_.back()));
  } else {
    append(events_.empty() ? nullptr : std::get_if<ContentDelta>(&events_.back()));
    after_call_ = false;
  }
  take_until(at);
}

void OutputParser::take_as_value_until(size_t at) {
  if (at == at_) return;
  std::string json;
  value_.add(pending().substr(0, at - at_), json);
  add_arguments(json);
  value_fresh_ = false;
  take_until(at);
}

ParsedOutput parse_output(std::string_view text, const OutputFormat& format, const boost::json::value& tools) {
  OutputParser parser(format, tools);
  std::vector<OutputEvent> events = parser.push(text);
  for (OutputEvent& event : parser.finish()) events.push_back(std::move(event));
  ParsedOutput output;
  for (const OutputEvent& event : events) {
    if (const auto* reasoning = std::get_if<ReasoningDelta>(&event)) output.reasoning += reasoning->text;
    if (const auto* content = std::get_if<ContentDelta>(&event)) output.content += content->text;
    if (const auto* start = std::get_if<ToolCallStart>(&event)) output.calls.push_back({start->name, "", false});
    if (const auto* arguments = std::get_if<ToolArgumentsDelta>(&event)) output.calls.back().arguments += arguments->json;
    if (const auto* end = std::get_if<ToolCallEnd>(&event)) output.calls.back().complete = end->complete;
  }
  return output;
}

}  // namespace sluice
