// One parameter's value as the model wrote it, between tags and without quotes, to JSON.
//
// - A parameter that takes strings only, or of which nothing is said: the text is the string and goes out as it comes ("null" too,
//   where Qwen's own parser makes it null).
// - One that takes no strings: the text is JSON, passed on as spelt (without the white space around). True, False and None, as
//   Qwen's template prints them from Python, count as JSON.
// - One that takes strings and other types: JSON of one of the other types if it is that, else a string. So 5 for a string or a
//   number is the number: the model has no way to say which.
// - What should be JSON and is not (or has a key twice, or a number beyond double) becomes a string, unchanged; as soon as that is
//   certain it goes out as it comes. So does a value longer than kMaxHeldBytes.
//
// Against Qwen's parser: there a boolean that is neither true nor false becomes false, and Python's literals count as JSON.
#pragma once

#include <string>
#include <string_view>

#include "text/json_scanner.h"
#include "text/tool_schema.h"

namespace sluice {

class ParameterValue {
 public:
  // All append to `out`.
  void begin(JsonTypes types, std::string& out);
  void add(std::string_view text, std::string& out);
  void end(std::string& out);

 private:
  bool may_be_json(std::string_view text);
  bool may_be_python_word() const;
  void become_string(std::string& out);

  JsonTypes types_ = 0;
  bool string_ = false;  // it is one, and its opening quote is out
  bool broken_ = false;  // as JSON
  bool blank_ = true;    // so far
  std::string held_;     // of what may be JSON
  JsonScanner scanner_;
};

}  // namespace sluice
