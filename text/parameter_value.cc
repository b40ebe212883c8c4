#include "text/parameter_value.h"

#include <algorithm>

#include "io/json.h"
#include "text/markup.h"

namespace sluice {
namespace {

JsonTypes type_beginning_with(char c) {
  switch (c) {
    case '"':
      return kJsonString;
    case '{':
      return kJsonObject;
    case '[':
      return kJsonArray;
    case 't':
    case 'f':
      return kJsonBoolean;
    case 'n':
      return kJsonNull;
    default:
      return c == '-' || (c >= '0' && c <= '9') ? kJsonNumber : 0;
  }
}

struct PythonWord {
  std::string_view python, json;
};
constexpr PythonWord kPythonWords[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};

}  // namespace

void ParameterValue::begin(JsonTypes types, std::string& out) {
  types_ = types == 0 ? kJsonString : types;
  string_ = broken_ = false;
  blank_ = true;
  held_.clear();
  scanner_ = {};
  if (types_ == kJsonString) become_string(out);
}

void ParameterValue::add(std::string_view text, std::string& out) {
  if (string_) return append_json_escaped(out, text);
  // The limit must not depend on how the text is cut.
  const bool fits = held_.size() + text.size() <= kMaxHeldBytes;
  held_ += text;
  if (!fits || (!may_be_json(text) && !may_be_python_word())) become_string(out);
}

void ParameterValue::end(std::string& out) {
  const std::string_view text = trim(held_);
  if (!string_ && may_be_python_word())
    for (const PythonWord& word : kPythonWords)
      if (text == word.python) return void(out += word.json);
  if (!string_ && !broken_ && parse_json(text, "").ok()) return void(out += text);
  if (!string_) become_string(out);
  out += '"';
}

bool ParameterValue::may_be_json(std::string_view text) {
  const std::string_view start = trim(text);
  if (blank_ && !start.empty() && (types_ & kJsonString)) {
    const JsonTypes type = type_beginning_with(start.front());
    if (type == kJsonString || !(types_ & type)) broken_ = true;
  }
  blank_ = blank_ && start.empty();
  std::string unused;  // end() passes the text as it is
  const size_t taken = scanner_.feed(text, unused);
  if (scanner_.state() == JsonScanner::State::kBroken || !trim(text.substr(taken)).empty()) broken_ = true;
  return !broken_;
}

bool ParameterValue::may_be_python_word() const {
  if ((types_ & kJsonString) || held_.size() > 2 * kMaxSpaceBytes) return false;
  const std::string_view text = trim(held_);
  return std::any_of(std::begin(kPythonWords), std::end(kPythonWords),
                     [&](const PythonWord& word) { return word.python.starts_with(text); });
}

void ParameterValue::become_string(std::string& out) {
  string_ = true;
  out += '"';
  append_json_escaped(out, held_);
  held_.clear();
}

}  // namespace sluice
