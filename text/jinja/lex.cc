#include "text/jinja/lex.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "io/quote.h"
#include "text/jinja/budget.h"
#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

// One kind of line end, and none at the very end.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80); }
bool continues_name(char c) { return begins_name(c) || is_digit(c); }

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(normalize_newlines(source)), s_(source_) {}

  std::vector<Token> run() {
    while (at_ < s_.size()) lex_text();
    add(TokenKind::kEnd, {});
    return std::move(tokens_);
  }
  int line() const { return line_; }

 private:
  enum class Tag { kPrint, kBlock, kComment };

  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  bool next_is(std::string_view what) const { return s_.substr(at_).starts_with(what); }

  void move_to(size_t to) {
    line_ += static_cast<int>(std::count(s_.begin() + at_, s_.begin() + to, '\n'));
    at_ = to;
  }

  void skip_space() {
    const Span rest = strip(s_.substr(at_), nullptr, true, false);
    move_to(at_ + rest.begin);
  }

  size_t find_tag(size_t from) const {
    for (size_t at = s_.find('{', from); at != std::string_view::npos; at = s_.find('{', at + 1)) {
      const char next = at + 1 < s_.size() ? s_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return s_.size();
  }

  // Text up to the next tag, then the tag.
  void lex_text() {
    const size_t tag_at = find_tag(at_);
    const std::string_view text = s_.substr(at_, tag_at - at_);
    if (tag_at == s_.size()) {
      if (!text.empty()) add(TokenKind::kText, std::string(text));
      return move_to(tag_at);
    }
    const Tag tag = s_[tag_at + 1] == '{' ? Tag::kPrint : s_[tag_at + 1] == '%' ? Tag::kBlock : Tag::kComment;
    const char sign = tag_at + 2 < s_.size() ? s_[tag_at + 2] : '\0';
    const std::string_view kept = strip_before_tag(text, sign, tag != Tag::kPrint);
    if (!kept.empty()) add(TokenKind::kText, std::string(kept));
    move_to(tag_at + 2 + (sign == '-' || sign == '+'));
    if (tag == Tag::kComment) return skip_comment();
    if (tag == Tag::kBlock && lex_raw()) return;
    lex_tag(tag);
  }

  // '-' removes all white space before the tag; lstrip_blocks that from the line's begin to a block or comment, unless '+'.
  std::string_view strip_before_tag(std::string_view text, char sign, bool block) const {
    if (sign == '-') return text.substr(0, strip(text, nullptr, false, true).end);
    if (sign == '+' || !block) return text;
    const size_t newline = text.rfind('\n');
    const bool whole_line = newline != std::string_view::npos || at_ == 0 || s_[at_ - 1] == '\n';
    if (!whole_line) return text;
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    const Span rest = strip(text.substr(line_begin), nullptr, true, false);
    return rest.begin == text.size() - line_begin ? text.substr(0, line_begin) : text;
  }

  // After the end of a block or comment: '-' removes white space, '+' nothing, and by trim_blocks else one newline.
  void end_tag(char sign, bool trim) {
    move_to(at_ + 2);
    if (sign == '-') skip_space();
    else if (sign != '+' && trim && next_is("\n")) move_to(at_ + 1);
  }

  void skip_comment() {
    const size_t end = s_.find("#}", at_);
    if (end == std::string_view::npos) fail("a comment is not closed with '#}'");
    const char sign = end > at_ ? s_[end - 1] : '\0';
    move_to(end);
    end_tag(sign, true);
  }

  // Just behind '{%': the end of `{% word %}`, or npos if this is another tag. Sign: the one at its end.
  size_t match_word_tag(size_t at, std::string_view word, char* sign) const {
    const auto skip = [&] { at += strip(s_.substr(at), nullptr, true, false).begin; };
    skip();
    if (!s_.substr(at).starts_with(word)) return std::string_view::npos;
    at += word.size();
    skip();
    *sign = at < s_.size() ? s_[at] : '\0';
    if (*sign == '-' || *sign == '+') ++at;
    return s_.substr(at).starts_with("%}") ? at : std::string_view::npos;
  }

  // {% raw %} ... {% endraw %} becomes one text.
  bool lex_raw() {
    char sign;
    const size_t begin_tag_end = match_word_tag(at_, "raw", &sign);
    if (begin_tag_end == std::string_view::npos) return false;
    move_to(begin_tag_end);
    end_tag(sign, false);
    for (size_t tag_at = s_.find("{%", at_); tag_at != std::string_view::npos; tag_at = s_.find("{%", tag_at + 1)) {
      const char begin_sign = tag_at + 2 < s_.size() ? s_[tag_at + 2] : '\0';
      const size_t inside = tag_at + 2 + (begin_sign == '-' || begin_sign == '+');
      const size_t end = match_word_tag(inside, "endraw", &sign);
      if (end == std::string_view::npos) continue;
      const std::string_view kept = strip_before_tag(s_.substr(at_, tag_at - at_), begin_sign, true);
      if (!kept.empty()) add(TokenKind::kText, std::string(kept));
      move_to(end);
      end_tag(sign, true);
      return true;
    }
    fail("'raw' is not closed with 'endraw'");
  }

  void lex_tag(Tag tag) {
    const bool block = tag == Tag::kBlock;
    const std::string_view close = block ? "%}" : "}}";
    add(block ? TokenKind::kBlockBegin : TokenKind::kPrintBegin, std::string(block ? "{%" : "{{"));
    brackets_.clear();
    for (skip_space(); at_ < s_.size(); skip_space()) {
      const bool dash = next_is("-"), plus = block && next_is("+");
      const bool closes = brackets_.empty() && s_.substr(at_ + (dash || plus)).starts_with(close);
      if (!closes) {
        lex_token();
        continue;
      }
      add(block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, std::string(close));
      move_to(at_ + (dash || plus));
      return end_tag(dash ? '-' : plus ? '+' : '\0', block);
    }
    fail(fmt::format("a tag is not closed with '{}'", close));
  }

  void lex_token() {
    const char c = s_[at_];
    if (begins_name(c)) {
      size_t end = at_;
      while (end < s_.size() && continues_name(s_[end])) ++end;
      add(TokenKind::kName, std::string(s_.substr(at_, end - at_)));
      return move_to(end);
    }
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string(c);
    lex_operator();
  }

  // Digits with single underscores between them; returns the end.
  size_t digits(size_t at) const {
    while (at < s_.size() && (is_digit(s_[at]) || (s_[at] == '_' && at + 1 < s_.size() && is_digit(s_[at + 1])))) ++at;
    return at;
  }

  void lex_number() {
    size_t end = digits(at_);
    bool is_float = false;
    const bool index = at_ > 0 && s_[at_ - 1] == '.';  // x.0.1 is two indices
    if (!index && end + 1 < s_.size() && s_[end] == '.' && is_digit(s_[end + 1])) {
      is_float = true;
      end = digits(end + 1);
    }
    if (!index && end < s_.size() && (s_[end] == 'e' || s_[end] == 'E')) {
      const size_t sign = end + 1 < s_.size() && (s_[end + 1] == '+' || s_[end + 1] == '-');
      if (end + 1 + sign < s_.size() && is_digit(s_[end + 1 + sign])) {
        is_float = true;
        end = digits(end + 1 + sign);
      }
    }
    std::string text(s_.substr(at_, end - at_));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    if (!is_float && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos) {
      fail(fmt::format("the integer '{}' begins with 0", text));
    }
    add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    move_to(end);
  }

  void lex_string(char quote) {
    const size_t begin = at_ + 1;
    size_t end = begin;
    while (end < s_.size() && s_[end] != quote) end += s_[end] == '\\' ? 2 : 1;
    if (end >= s_.size()) fail("a string is not closed");
    add(TokenKind::kString, unescape(s_.substr(begin, end - begin)));
    move_to(end + 1);
  }

  // Python's escapes. An unknown one stands for itself, backslash included.
  std::string unescape(std::string_view s) const {
    std::string out;
    for (size_t i = 0; i < s.size(); ++i) {
      if (s[i] != '\\') {
        out += s[i];
        continue;
      }
      const char c = s[++i];
      static constexpr std::string_view kCodes = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t known = kCodes.find(c); known != std::string_view::npos) {
        out += kValues[known];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_code_point(s.substr(i + 1, n), n, 16, out);
        i += n;
      } else if (c >= '0' && c <= '7') {
        size_t n = 1;
        while (n < 3 && i + n < s.size() && s[i + n] >= '0' && s[i + n] <= '7') ++n;
        append_code_point(s.substr(i, n), n, 8, out);
        i += n - 1;
      } else if (c != '\n') {  // backslash and line end: nothing
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void append_code_point(std::string_view digits, size_t count, int base, std::string& out) const {
    uint32_t value = 0;
    bool valid = digits.size() == count;
    for (const char c : digits) {
      const int d = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : base;
      valid = valid && d < base;
      value = value * static_cast<uint32_t>(base) + static_cast<uint32_t>(d);
    }
    const bool surrogate = value >= 0xD800 && value < 0xE000;
    if (!valid || surrogate || value > 0x10FFFF) fail("a string holds a bad escape, " + quote(digits));
    append_utf8(out, value);
  }

  void lex_operator() {
    static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* op = std::find_if(std::begin(kOperators), std::end(kOperators), [&](auto o) { return next_is(o); });
    if (op == std::end(kOperators)) fail("unexpected character " + quote(s_.substr(at_, decode(s_, at_).bytes)));
    balance((*op)[0]);
    add(TokenKind::kOperator, std::string(*op));
    move_to(at_ + op->size());
  }

  // A tag ends only outside brackets: '}}' may close two mappings.
  void balance(char c) {
    if (c == '(' || c == '[' || c == '{') {
      brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty()) fail(fmt::format("unexpected '{}'", c));
      if (brackets_.back() != c) fail(fmt::format("unexpected '{}', expected '{}'", c, brackets_.back()));
      brackets_.pop_back();
    }
  }

  const std::string source_;
  const std::string_view s_;
  size_t at_ = 0;
  int line_ = 1;
  std::string brackets_;  // the closing ones that are due
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> lex(const std::string& source) {
  if (!utf8_valid(source)) return invalid("the template is not UTF-8");
  Lexer lexer(source);
  try {
    return lexer.run();
  } catch (const Failure& f) {
    return Status(f.code, fmt::format("line {}: {}", lexer.line(), f.message));
  }
}

}  // namespace sluice::jinja
