// Added tokens: strings that become one token wherever they stand, before any pre-tokenizer sees them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

struct AddedToken {
  int32_t id = -1;
  std::string content;
  bool special = false;      // left out of text that is decoded with skip_special
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // looked for in normalised text, by its normalised content
};

// Part of a text, in bytes.
struct TextRange {
  size_t begin, end;
};

// Finds a set of added tokens in a text: the leftmost, the longest of equals, none overlapping.
class AddedTokenMatcher {
 public:
  struct Pattern {
    std::string text;
    AddedToken token;
  };
  struct Match {
    TextRange range;  // with the white space that it takes along
    int32_t id;
  };

  AddedTokenMatcher() = default;
  // Of equal texts the first counts; empty ones never match.
  explicit AddedTokenMatcher(std::vector<Pattern> patterns);

  bool empty() const { return patterns_.empty(); }
  // Matches wholly inside one of `allowed` (in order, not touching). Flags look at all of `text`, as if everything were allowed.
  std::vector<Match> find(std::string_view text, const std::vector<TextRange>& allowed) const;

 private:
  const Pattern* longest_at(std::string_view text) const;

  std::vector<Pattern> patterns_;           // sorted by text
  std::array<uint32_t, 257> first_byte_{};  // patterns that begin with byte b: [first_byte_[b], first_byte_[b + 1])
};

}  // namespace sluice
