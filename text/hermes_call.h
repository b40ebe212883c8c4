// The JSON object of a Hermes call up to its arguments: {"name": "f", "arguments": {...}}.
//
// Where the name comes first, as templates write it, the arguments need not be waited for: kArgumentsFollow, and nothing of them is
// taken. In any other order all of the object is read: kWhole, and arguments() has them. Not a call: what is not JSON, a function
// that the request does not have, no name or two, arguments that are not an object (or a string that holds one, or null or "" for
// none), more than kMaxHeldBytes. A call without "arguments" has none. Other members are passed over.
#pragma once

#include <string>
#include <string_view>

#include "text/json_scanner.h"
#include "text/tool_schema.h"

namespace sluice {

class HermesHead {
 public:
  enum class State { kReading, kArgumentsFollow, kWhole, kNotACall };

  explicit HermesHead(const ToolSchemas& tools) : tools_(&tools) {}

  // From the object's '{' on. Returns the bytes taken: all, while kReading.
  size_t feed(std::string_view text);
  State state() const { return state_; }
  const std::string& name() const { return name_; }
  const std::string& arguments() const { return arguments_; }

 private:
  enum class Expect { kBrace, kKey, kInKey, kColon, kValue, kInValue, kCommaOrEnd };

  void take_structure(char c);
  size_t take_scanned(std::string_view text);
  void begin_value(char c);
  void end_value();
  void end_name();
  void end_object();
  void fail() { state_ = State::kNotACall; }

  const ToolSchemas* tools_;
  State state_ = State::kReading;
  Expect expect_ = Expect::kBrace;
  JsonScanner scanner_;
  std::string key_, value_;  // as JSON; value_ only of members that count
  std::string name_, arguments_;
  size_t taken_ = 0;
};

}  // namespace sluice
