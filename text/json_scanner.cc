#include "text/json_scanner.h"

#include <algorithm>
#include <cctype>

#include "text/markup.h"

namespace sluice {
namespace {

constexpr std::string_view kLoneSurrogate = "\\ufffd";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20; }
bool is_plain(char c) { return c != '"' && c != '\\' && !is_control(c); }

void append_escaped(std::string& out, char c) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out += "\\\"";
      break;
    case '\\':
      out += "\\\\";
      break;
    case '\b':
      out += "\\b";
      break;
    case '\f':
      out += "\\f";
      break;
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      out += {'\\', 'u', '0', '0', kHex[c >> 4 & 15], kHex[c & 15]};
  }
}

}  // namespace

void append_json_escaped(std::string& out, std::string_view text) {
  for (size_t at = 0; at < text.size(); ++at) {
    const size_t plain = size_t(std::find_if_not(text.begin() + at, text.end(), is_plain) - text.begin());
    out += text.substr(at, plain - at);
    at = plain;
    if (at < text.size()) append_escaped(out, text[at]);
  }
}

size_t JsonScanner::feed(std::string_view text, std::string& out) {
  size_t at = 0;
  while (at < text.size() && state_ == State::kReading) {
    at += take_plain(text.substr(at), out);
    if (at < text.size() && take(text[at], out)) ++at;
  }
  return at;
}

bool JsonScanner::take(char c, std::string& out) {
  if (expect_ == Expect::kString) return take_string(c, out);
  if (expect_ == Expect::kNumber) {
    if (take_number(c, out)) return true;
    if (!number_is_whole()) return state_ = State::kBroken, false;
    end_value();
    return state_ == State::kReading && take(c, out);
  }
  if (expect_ == Expect::kLiteral) {
    if (c != rest_.front()) return state_ = State::kBroken, false;
    out += c;
    rest_.remove_prefix(1);
    if (rest_.empty()) end_value();
    return true;
  }
  if (is_space(c) || take_structure(c, out)) return true;
  state_ = State::kBroken;
  return false;
}

bool JsonScanner::take_structure(char c, std::string& out) {
  switch (expect_) {
    case Expect::kKey:
      if (c == '"') return begin_string(true, out), true;
      return c == '}' && close_container(out);
    case Expect::kColon:
      if (c != ':') return false;
      out += ": ";
      expect_ = Expect::kValue;
      return true;
    case Expect::kCommaOrEnd:
      return take_comma_or_end(c, out);
    case Expect::kItemOrEnd:
      if (c == ']') return close_container(out);
      return begin_value(c, out);
    default:
      return begin_value(c, out);
  }
}

bool JsonScanner::take_comma_or_end(char c, std::string& out) {
  if (c == ',') {
    comma_ = true;
    expect_ = in_object() ? Expect::kKey : Expect::kItemOrEnd;
    return true;
  }
  return c == (in_object() ? '}' : ']') && close_container(out);
}

bool JsonScanner::begin_value(char c, std::string& out) {
  if (c == '{' || c == '[') return open(c == '{', out);
  if (c == '"') return begin_string(false, out), true;
  const std::string_view literal = c == 't' ? "true" : c == 'f' ? "false" : c == 'n' ? "null" : "";
  if (literal.empty() && c != '-' && !is_digit(c)) return false;
  if (comma_) out += ", ";
  comma_ = false;
  out += c;
  if (literal.empty()) {
    expect_ = Expect::kNumber;
    number_ = c == '-' ? Number::kMinus : c == '0' ? Number::kZero : Number::kDigits;
  } else {
    expect_ = Expect::kLiteral;
    rest_ = literal.substr(1);
  }
  return true;
}

bool JsonScanner::take_number(char c, std::string& out) {
  const auto next = [&](Number state) { return number_ = state, out += c, true; };
  const bool digit = is_digit(c), exponent = c == 'e' || c == 'E';
  switch (number_) {
    case Number::kMinus:
      return digit && next(c == '0' ? Number::kZero : Number::kDigits);
    case Number::kDigits:
      if (digit) return next(Number::kDigits);
      [[fallthrough]];
    case Number::kZero:
      if (c == '.') return next(Number::kPoint);
      return exponent && next(Number::kExponent);
    case Number::kPoint:
      return digit && next(Number::kFraction);
    case Number::kFraction:
      if (digit) return next(Number::kFraction);
      return exponent && next(Number::kExponent);
    case Number::kExponent:
      if (c == '+' || c == '-') return next(Number::kSign);
      [[fallthrough]];
    default:
      return digit && next(Number::kExponentDigits);
  }
}

bool JsonScanner::number_is_whole() const {
  return number_ == Number::kZero || number_ == Number::kDigits || number_ == Number::kFraction ||
         number_ == Number::kExponentDigits;
}

void JsonScanner::begin_string(bool key, std::string& out) {
  if (comma_) out += ", ";
  comma_ = false;
  out += '"';
  key_ = key;
  expect_ = Expect::kString;
}

// The run of a string's characters that stand for themselves.
size_t JsonScanner::take_plain(std::string_view text, std::string& out) {
  if (expect_ != Expect::kString || !escape_.empty()) return 0;
  const size_t n = size_t(std::find_if_not(text.begin(), text.end(), is_plain) - text.begin());
  if (n > 0) flush_surrogate(out);
  out += text.substr(0, n);
  return n;
}

bool JsonScanner::take_string(char c, std::string& out) {
  if (!escape_.empty()) return take_escape(c, out);
  if (c == '\\') return escape_ = c, true;
  flush_surrogate(out);
  if (c != '"') return append_escaped(out, c), true;
  out += '"';
  if (key_) {
    expect_ = Expect::kColon;
  } else {
    end_value();
  }
  return true;
}

// False: c does not belong to the escape, which is put out as a backslash and plain characters.
bool JsonScanner::take_escape(char c, std::string& out) {
  const bool unicode = escape_.size() > 1;
  if (unicode ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c == 'u') {
    escape_ += c;
    if (escape_.size() == 6) end_unicode_escape(out);
    return true;
  }
  if (unicode || std::string_view("\"\\/bfnrt").find(c) == std::string_view::npos) return flush_escape(out), false;
  flush_surrogate(out);
  out += {'\\', c};
  escape_.clear();
  return true;
}

void JsonScanner::end_unicode_escape(std::string& out) {
  const unsigned long unit = std::stoul(escape_.substr(2), nullptr, 16);
  const bool high = unit >= 0xD800 && unit < 0xDC00, low = unit >= 0xDC00 && unit < 0xE000;
  if (low && !surrogate_.empty()) {
    out += surrogate_ + escape_;
    surrogate_.clear();
  } else {
    flush_surrogate(out);
    if (high) {
      surrogate_ = escape_;
    } else {
      out += low ? kLoneSurrogate : std::string_view(escape_);
    }
  }
  escape_.clear();
}

void JsonScanner::flush_escape(std::string& out) {
  flush_surrogate(out);
  if (!escape_.empty()) out += '\\' + escape_;
  escape_.clear();
}

void JsonScanner::flush_surrogate(std::string& out) {
  if (!surrogate_.empty()) out += kLoneSurrogate;
  surrogate_.clear();
}

bool JsonScanner::open(bool object, std::string& out) {
  if (depth_ == kMaxDepth) return false;
  if (comma_) out += ", ";
  comma_ = false;
  out += object ? '{' : '[';
  const uint64_t bit = uint64_t(1) << depth_++;
  objects_ = object ? objects_ | bit : objects_ & ~bit;
  expect_ = object ? Expect::kKey : Expect::kItemOrEnd;
  return true;
}

bool JsonScanner::close_container(std::string& out) {
  out += in_object() ? '}' : ']';
  --depth_;
  end_value();
  return true;
}

void JsonScanner::end_value() {
  expect_ = Expect::kCommaOrEnd;
  if (depth_ == 0) state_ = State::kDone;
}

void JsonScanner::close(std::string& out) {
  if (state_ == State::kDone) return;
  if (expect_ == Expect::kString) {
    flush_escape(out);
    out += '"';
  }
  if ((expect_ == Expect::kString && key_) || expect_ == Expect::kColon) out += ": null";
  if (expect_ == Expect::kValue) out += "null";
  if (expect_ == Expect::kNumber && !number_is_whole()) out += '0';
  if (expect_ == Expect::kLiteral) out += rest_;
  while (depth_ > 0) close_container(out);
  state_ = State::kDone;
}

}  // namespace sluice
