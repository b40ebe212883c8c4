#include "text/hermes_call.h"

#include "io/json.h"
#include "text/markup.h"

namespace sluice {
namespace {

constexpr std::string_view kNameKey = "\"name\"", kArgumentsKey = "\"arguments\"";

// What a string of JSON says. Empty if it is not one.
std::string string_value(const std::string& text) {
  const auto value = parse_json(text, "");
  return value.ok() && value->is_string() ? std::string(value->get_string()) : std::string();
}

// An object out of a string that holds one. Empty if the text holds something else.
std::string unpacked_object(const std::string& text) {
  JsonScanner scanner;
  std::string object;
  const std::string inner(trim(text));
  const size_t taken = scanner.feed(inner, object);
  const bool whole = scanner.state() == JsonScanner::State::kDone && taken == inner.size();
  return whole && object.front() == '{' ? object : std::string();
}

}  // namespace

size_t HermesHead::feed(std::string_view text) {
  size_t at = 0;
  const std::string_view allowed = text.substr(0, kMaxHeldBytes - taken_);
  while (at < allowed.size() && state_ == State::kReading) {
    const bool scanning = expect_ == Expect::kInKey || expect_ == Expect::kInValue;
    if (scanning) {
      at += take_scanned(allowed.substr(at));
    } else if (expect_ == Expect::kValue && !is_space(allowed[at])) {
      begin_value(allowed[at]);  // takes nothing
    } else {
      take_structure(allowed[at]);
      // A key's quote is the scanner's.
      if (state_ != State::kNotACall && expect_ != Expect::kInKey) ++at;
    }
  }
  taken_ += at;
  if (taken_ == kMaxHeldBytes && state_ == State::kReading) fail();
  return at;
}

void HermesHead::take_structure(char c) {
  if (is_space(c) && expect_ != Expect::kBrace) return;
  const auto move = [&](bool here, Expect next) {
    if (here) expect_ = next;
    return here;
  };
  const auto begin_key = [&] {
    scanner_ = {};
    key_.clear();
    return move(c == '"', Expect::kInKey);
  };
  switch (expect_) {
    case Expect::kBrace:
      return move(c == '{', Expect::kKey) ? void() : fail();
    case Expect::kKey:
      return begin_key() ? void() : fail();
    case Expect::kColon:
      return move(c == ':', Expect::kValue) ? void() : fail();
    default:
      if (c == '}') return end_object();
      return move(c == ',', Expect::kKey) ? void() : fail();
  }
}

// The key or the value at hand.
size_t HermesHead::take_scanned(std::string_view text) {
  const bool in_key = expect_ == Expect::kInKey;
  std::string& out = in_key ? key_ : value_;
  const size_t taken = scanner_.feed(text, out);
  const bool is_name = key_ == kNameKey;
  if (!in_key && !is_name && key_ != kArgumentsKey) value_.clear();
  if (scanner_.state() == JsonScanner::State::kBroken) fail();
  if ((in_key || is_name) && out.size() > kMaxNameBytes + 2) fail();
  if (state_ == State::kNotACall || scanner_.state() != JsonScanner::State::kDone) return taken;
  if (in_key) {
    expect_ = Expect::kColon;
  } else {
    end_value();
  }
  return taken;
}

void HermesHead::begin_value(char c) {
  scanner_ = {};
  value_.clear();
  expect_ = Expect::kInValue;
  if (key_ != kArgumentsKey) return;
  if (!arguments_.empty()) return fail();
  if (c == '{' && !name_.empty()) state_ = State::kArgumentsFollow;
}

void HermesHead::end_value() {
  expect_ = Expect::kCommaOrEnd;
  if (key_ == kNameKey) return end_name();
  if (key_ != kArgumentsKey) return;
  arguments_ = value_.front() == '"' ? unpacked_object(string_value(value_)) : value_;
  if (value_ == "null" || value_ == "\"\"") arguments_ = "{}";
  if (arguments_.empty() || arguments_.front() != '{') fail();
}

void HermesHead::end_name() {
  if (!name_.empty()) return fail();
  name_ = string_value(value_);
  if (!tools_->find(name_)) fail();
}

void HermesHead::end_object() {
  if (arguments_.empty()) arguments_ = "{}";
  state_ = name_.empty() ? State::kNotACall : State::kWhole;
}

}  // namespace sluice
