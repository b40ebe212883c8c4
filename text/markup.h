// The tags that a model writes around its reasoning and its calls, and how they are found in text that is still coming.
#pragma once

#include <string_view>

namespace sluice {

inline constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>";
inline constexpr std::string_view kCallOpen = "<tool_call>", kCallClose = "</tool_call>";
inline constexpr std::string_view kFunctionOpen = "<function=", kFunctionClose = "</function>";
inline constexpr std::string_view kParameterOpen = "<parameter=", kParameterClose = "</parameter>";

// Longer names of functions, parameters and members of a call are not taken for names; nor is longer white space for that
// between two tags.
inline constexpr size_t kMaxNameBytes = 256, kMaxSpaceBytes = 64;

// What is held until it is known what it is: a value to be read as JSON, or arguments that come before the name.
inline constexpr size_t kMaxHeldBytes = size_t(4) << 20;

inline bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Where the white space at the end of `text` begins, at most kMaxSpaceBytes before the end.
inline size_t space_begin(std::string_view text) {
  size_t at = text.size();
  while (at > 0 && text.size() - at < kMaxSpaceBytes && is_space(text[at - 1])) --at;
  return at;
}

inline std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

enum class Match { kNo, kNeedMore, kYes };

// Reads tags from the start of a text of which more may come. What was asked for and is not there, but could be when more comes,
// leaves the reader starved.
class MarkupReader {
 public:
  // whole: no more comes.
  MarkupReader(std::string_view text, bool whole) : text_(text), whole_(whole) {}

  bool literal(std::string_view wanted) {
    const std::string_view here = text_.substr(at_, wanted.size());
    if (here == wanted) return at_ += wanted.size(), true;
    if (wanted.starts_with(here)) starve();
    return false;
  }

  void spaces() {
    for (size_t n = 0; n < kMaxSpaceBytes && at_ < text_.size() && is_space(text_[at_]); ++n) ++at_;
    if (at_ == text_.size()) starve();
  }

  // A name and the '>' after it.
  bool name(std::string_view& name) {
    const std::string_view here = text_.substr(at_, kMaxNameBytes + 1);
    const size_t end = here.find_first_of("<>\n");
    if (end == std::string_view::npos && here.size() <= kMaxNameBytes) starve();
    if (end == std::string_view::npos || end == 0 || here[end] != '>') return false;
    name = here.substr(0, end);
    at_ += end + 1;
    return true;
  }

  bool at_end() const { return whole_ && at_ == text_.size(); }
  size_t taken() const { return at_; }
  void back_to(size_t at) { at_ = at; }
  Match result(bool matched) const { return matched ? Match::kYes : starved_ ? Match::kNeedMore : Match::kNo; }

 private:
  void starve() { starved_ = starved_ || !whole_; }

  const std::string_view text_;
  const bool whole_;
  size_t at_ = 0;
  bool starved_ = false;
};

}  // namespace sluice
