// What the parser's tests share: events as one line of text, and a text fed in pieces.
#pragma once

#include <boost/json/parse.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/tool_parser.h"
#include "text/utf8.h"

namespace sluice::testing {

// Puts together what push() and finish() return: "R{..}" reasoning, "C{..}" content, "[name|arguments]" a call, "[name|arguments!"
// one that is not complete. Deltas of one kind that follow each other are one.
class Transcript {
 public:
  void add(const std::vector<OutputEvent>& events) {
    for (const OutputEvent& event : events) std::visit([&](const auto& e) { add(e); }, event);
  }
  std::string text() const { return kind_ ? text_ + "}" : text_; }
  // What is wrong with the order or the sizes of the events. Empty: nothing.
  const std::string& fault() const { return fault_; }
  const std::vector<std::string>& arguments() const { return arguments_; }
  bool in_call() const { return in_call_; }

 private:
  void add(const ReasoningDelta& e) { add_text('R', e.text); }
  void add(const ContentDelta& e) { add_text('C', e.text); }
  void add(const ToolCallStart& e) {
    end_text();
    if (in_call_ || e.index != int(arguments_.size())) fault_ = "start out of order";
    in_call_ = true;
    text_ += "[" + e.name + "|";
    arguments_.emplace_back();
  }
  void add(const ToolArgumentsDelta& e) {
    if (!in_call_ || e.index + 1 != int(arguments_.size()) || e.json.empty())
      return void(fault_ = "arguments out of order, or empty");
    if (!utf8_valid(e.json)) fault_ = "a character is cut";
    arguments_.back() += e.json;
    text_ += e.json;
  }
  void add(const ToolCallEnd& e) {
    if (!in_call_ || e.index + 1 != int(arguments_.size())) fault_ = "end out of order";
    in_call_ = false;
    text_ += e.complete ? "]" : "!";
  }

  void add_text(char kind, const std::string& text) {
    if (text.empty() || in_call_ || !utf8_valid(text)) fault_ = "text that is empty, in a call, or cuts a character";
    if (kind != kind_) {
      end_text();
      text_ += {kind, '{'};
      kind_ = kind;
    }
    text_ += text;
  }
  void end_text() {
    if (kind_) text_ += "}";
    kind_ = 0;
  }

  std::string text_, fault_;
  std::vector<std::string> arguments_;
  char kind_ = 0;
  bool in_call_ = false;
};

struct Setting {
  OutputFormat format;
  boost::json::value tools;
};

// `cuts` are places in the text, ascending.
inline Transcript transcript(std::string_view text, const Setting& setting, const std::vector<size_t>& cuts = {}) {
  OutputParser parser(setting.format, setting.tools);
  Transcript result;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    result.add(parser.push(text.substr(begin, cut - begin)));
    begin = cut;
  }
  result.add(parser.push(text.substr(begin)));
  result.add(parser.finish());
  return result;
}

// Where characters begin, but the first.
inline std::vector<size_t> places_between_characters(std::string_view text) {
  std::vector<size_t> places;
  for (size_t at = 1; at < text.size(); ++at)
    if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) places.push_back(at);
  return places;
}

inline boost::json::value test_tools() {
  return boost::json::parse(R"([
    {"type": "function", "function": {"name": "now"}},
    {"type": "function", "function": {"name": "put", "parameters": {
      "type": "object",
      "$defs": {"Place": {"type": "object"}},
      "properties": {
        "s": {"type": "string"}, "s2": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
        "z": {"type": "null"}, "o": {"type": "object"}, "a": {"type": "array"}, "place": {"$ref": "#/$defs/Place"},
        "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "any": {"type": ["string", "number", "object"]},
        "level": {"enum": [1, 2]}, "free": {}}}}},
    {"name": "写", "parameters": {"properties": {"文": {"type": "string"}}}}])");
}

}  // namespace sluice::testing
