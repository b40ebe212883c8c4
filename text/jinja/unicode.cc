#include "text/jinja/unicode.h"

#include <utf8proc.h>

#include <utility>

namespace sluice::jinja {

size_t code_point_before(std::string_view s, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && end - begin < 4 && (static_cast<unsigned char>(s[begin]) & 0xC0) == 0x80) --begin;
  return decode(s, begin).bytes == end - begin ? begin : end - 1;
}

size_t count_code_points(std::string_view s) {
  size_t i = ascii_prefix(s), n = i;
  for (; i < s.size(); i += decode(s, i).bytes) ++n;
  return n;
}

bool is_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_letter(uint32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

namespace {

enum class Case { kUpper, kLower, kTitle };

// Unicode's simple mappings, and of the full ones the sharp s, which has no simple capital in Python.
void append_cased(uint32_t c, Case to, std::string& out) {
  constexpr uint32_t kSharpS = 0xDF;
  const auto point = static_cast<utf8proc_int32_t>(c);
  if (c == kSharpS && to != Case::kLower) {
    out += to == Case::kUpper ? "SS" : "Ss";
  } else if (to == Case::kLower) {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(point)));
  } else {
    append_utf8(out, static_cast<char32_t>(to == Case::kUpper ? utf8proc_toupper(point) : utf8proc_totitle(point)));
  }
}

// case_of(code point) is asked in order, so it may remember what came before.
template <class F>
std::string map_case(std::string_view s, F case_of) {
  std::string out;
  out.reserve(s.size());
  for (size_t i = 0; i < s.size();) {
    const CodePoint c = decode(s, i);
    append_cased(c.value, case_of(c.value), out);
    i += c.bytes;
  }
  return out;
}

bool is_line_end(uint32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool contains(std::string_view set, std::string_view s, size_t at, size_t bytes) {
  return set.find(s.substr(at, bytes)) != std::string_view::npos;
}

}  // namespace

std::string to_upper(std::string_view s) {
  return map_case(s, [](uint32_t) { return Case::kUpper; });
}

std::string to_lower(std::string_view s) {
  return map_case(s, [](uint32_t) { return Case::kLower; });
}

std::string capitalize(std::string_view s) {
  bool first = true;
  return map_case(s, [&](uint32_t) { return std::exchange(first, false) ? Case::kTitle : Case::kLower; });
}

std::string title_by_letters(std::string_view s) {
  bool in_word = false;
  return map_case(s, [&](uint32_t c) { return std::exchange(in_word, is_letter(c)) ? Case::kLower : Case::kTitle; });
}

std::string title_by_blanks(std::string_view s) {
  bool in_word = false;
  return map_case(s, [&](uint32_t c) {
    const bool blank = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    return std::exchange(in_word, !blank) ? Case::kLower : Case::kUpper;
  });
}

Span strip(std::string_view s, const std::string_view* chars, bool left, bool right) {
  const auto drop = [&](size_t at, CodePoint c) { return chars ? contains(*chars, s, at, c.bytes) : is_space(c.value); };
  Span span{0, s.size()};
  while (left && span.begin < span.end) {
    const CodePoint c = decode(s, span.begin);
    if (!drop(span.begin, c)) break;
    span.begin += c.bytes;
  }
  while (right && span.begin < span.end) {
    const size_t at = code_point_before(s, span.end);
    if (!drop(at, decode(s, at))) break;
    span.end = at;
  }
  return span;
}

void each_line(std::string_view s, const std::function<void(Span)>& line) {
  size_t begin = 0;
  for (size_t i = 0; i < s.size();) {
    const CodePoint c = decode(s, i);
    const size_t end = i;
    i += c.bytes;
    if (!is_line_end(c.value)) continue;
    if (c.value == '\r' && i < s.size() && s[i] == '\n') ++i;
    line({begin, end});
    begin = i;
  }
  if (begin < s.size()) line({begin, s.size()});
}

}  // namespace sluice::jinja
