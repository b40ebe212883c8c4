// One JSON value, read as it comes: what is valid comes out at once, and a value that breaks off can be closed. So the pieces put
// together are always one valid value.
//
// What comes out is the value on one line: no white space but one after ',' and ':' (as Python's json.dumps writes it), numbers and
// strings as spelt. Repaired without loss: control characters in strings (escaped), a backslash before a character that cannot be
// escaped (doubled), a comma before a closing bracket (left out). Half of a surrogate pair becomes U+FFFD, for most readers
// refuse it. All else that is not JSON, and more than 64 levels, breaks the value. Keys may come twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

class JsonScanner {
 public:
  enum class State { kReading, kDone, kBroken };

  // Takes what belongs to the value and appends it to `out`. Returns the bytes taken: all, while kReading. A number is done only
  // when something follows it.
  size_t feed(std::string_view text, std::string& out);
  State state() const { return state_; }
  // Appends what is missing for a valid value: quotes, brackets, null where a value was due.
  void close(std::string& out);

 private:
  static constexpr int kMaxDepth = 64;
  enum class Expect { kValue, kItemOrEnd, kKey, kColon, kCommaOrEnd, kString, kNumber, kLiteral };
  enum class Number { kMinus, kZero, kDigits, kPoint, kFraction, kExponent, kSign, kExponentDigits };

  bool take(char c, std::string& out);  // false: c is not part of the value
  bool take_structure(char c, std::string& out);
  bool begin_value(char c, std::string& out);
  bool take_comma_or_end(char c, std::string& out);
  bool take_number(char c, std::string& out);
  size_t take_plain(std::string_view text, std::string& out);
  bool take_string(char c, std::string& out);
  bool take_escape(char c, std::string& out);
  void end_unicode_escape(std::string& out);
  void flush_escape(std::string& out);
  void flush_surrogate(std::string& out);
  void begin_string(bool key, std::string& out);
  bool open(bool object, std::string& out);
  bool close_container(std::string& out);
  void end_value();
  bool in_object() const { return depth_ > 0 && (objects_ >> (depth_ - 1) & 1) != 0; }
  bool number_is_whole() const;

  State state_ = State::kReading;
  Expect expect_ = Expect::kValue;
  Number number_ = Number::kMinus;
  int depth_ = 0;
  uint64_t objects_ = 0;   // bit i: level i is an object
  bool comma_ = false;     // taken, and not yet put out: a closing bracket may follow
  bool key_ = false;       // the string is a key
  std::string_view rest_;  // of a literal
  std::string escape_;     // begun: a backslash, or \u and up to three digits
  std::string surrogate_;  // the first half of a pair, as an escape
};

// Appends `text` as the inside of a JSON string. UTF-8 stays as it is.
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace sluice
