// UTF-8 as Python's str sees it: positions and lengths are in code points, white space and case are Unicode's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "text/utf8.h"

namespace sluice::jinja {

struct CodePoint {
  uint32_t value;
  size_t bytes;
};

// A bad part counts as one code point, U+FFFD.
inline CodePoint decode(std::string_view s, size_t at) {
  const Utf8Unit unit = next_utf8(s.substr(at));
  return {unit.code, unit.length};
}
size_t code_point_before(std::string_view s, size_t end);  // where the code point that ends at `end` begins
size_t count_code_points(std::string_view s);
bool is_space(uint32_t code_point);
bool is_letter(uint32_t code_point);

std::string to_upper(std::string_view s);
std::string to_lower(std::string_view s);
std::string capitalize(std::string_view s);
std::string title_by_letters(std::string_view s);  // str.title(): a word is a run of letters
std::string title_by_blanks(std::string_view s);   // the filter: words are parted by blanks, '-', '(', '{', '[' and '<'

struct Span {
  size_t begin, end;  // bytes
};

// What is left of s without white space (chars null) or the code points of *chars at the ends asked for.
Span strip(std::string_view s, const std::string_view* chars, bool left, bool right);
// str.splitlines(): line ends are not part of the lines.
void each_line(std::string_view s, const std::function<void(Span)>& line);

}  // namespace sluice::jinja
