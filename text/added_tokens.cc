#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace sluice {
namespace {

unsigned char byte_at(std::string_view s, size_t i) { return static_cast<unsigned char>(s[i]); }

// Where the last character of text[0..end) begins. The text is valid.
size_t character_before(std::string_view text, size_t end) {
  do --end;
  while ((byte_at(text, end) & 0xC0) == 0x80);
  return end;
}

bool word_before(std::string_view text, size_t at) {
  return at > 0 && is_word_character(next_utf8(text.substr(character_before(text, at))).code);
}
bool word_after(std::string_view text, size_t at) { return at < text.size() && is_word_character(next_utf8(text.substr(at)).code); }

size_t skip_space_back(std::string_view text, size_t at, size_t limit) {
  while (at > limit) {
    const size_t before = character_before(text, at);
    if (!is_white_space(next_utf8(text.substr(before)).code)) break;
    at = before;
  }
  return at;
}
size_t skip_space(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Unit unit = next_utf8(text.substr(at));
    if (!is_white_space(unit.code)) break;
    at += unit.length;
  }
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<Pattern> patterns) : patterns_(std::move(patterns)) {
  std::erase_if(patterns_, [](const Pattern& p) { return p.text.empty(); });
  std::stable_sort(patterns_.begin(), patterns_.end(), [](const Pattern& a, const Pattern& b) { return a.text < b.text; });
  const auto same = [](const Pattern& a, const Pattern& b) { return a.text == b.text; };
  patterns_.erase(std::unique(patterns_.begin(), patterns_.end(), same), patterns_.end());
  for (const Pattern& p : patterns_) ++first_byte_[byte_at(p.text, 0) + 1];
  for (size_t b = 1; b < first_byte_.size(); ++b) first_byte_[b] += first_byte_[b - 1];
}

// The patterns that agree with the text so far are neighbours in the sorted list; each byte narrows them.
const AddedTokenMatcher::Pattern* AddedTokenMatcher::longest_at(std::string_view text) const {
  auto low = patterns_.begin() + first_byte_[byte_at(text, 0)], high = patterns_.begin() + first_byte_[byte_at(text, 0) + 1];
  const Pattern* longest = nullptr;
  for (size_t depth = 1; low != high; ++depth) {
    if (low->text.size() == depth) longest = &*low++;
    if (depth == text.size()) break;
    const auto byte = [depth](const Pattern& p) { return byte_at(p.text, depth); };
    low = std::partition_point(low, high, [&](const Pattern& p) { return byte(p) < byte_at(text, depth); });
    high = std::partition_point(low, high, [&](const Pattern& p) { return byte(p) == byte_at(text, depth); });
  }
  return longest;
}

std::vector<AddedTokenMatcher::Match> AddedTokenMatcher::find(std::string_view text, const std::vector<TextRange>& allowed) const {
  std::vector<Match> matches;
  if (patterns_.empty()) return matches;
  size_t taken = 0;  // end of the last match
  for (const TextRange& range : allowed) {
    for (size_t i = range.begin; i < range.end;) {
      const Pattern* p = longest_at(text.substr(i, range.end - i));
      if (!p) {
        ++i;
        continue;
      }
      TextRange found{i, i + p->text.size()};
      i = found.end;
      if (p->token.single_word && (word_before(text, found.begin) || word_after(text, found.end))) continue;
      if (p->token.lstrip) found.begin = skip_space_back(text, found.begin, taken);
      if (p->token.rstrip) found.end = skip_space(text, found.end);
      found.begin = std::max(found.begin, taken);  // the token before may have taken white space that this one begins with
      found.end = std::max(found.end, found.begin);
      taken = found.end;
      matches.push_back({found, p->token.id});
    }
  }
  return matches;
}

}  // namespace sluice
