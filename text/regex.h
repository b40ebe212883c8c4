// Patterns of tokenizer.json on PCRE2. They are written for Oniguruma, whose syntax differs in a few places: see translate().
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace sluice {

class Regex {
 public:
  // Memory of one caller for the results of a search.
  class Matches {
   public:
    Matches();

   private:
    friend class Regex;
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
    };
    std::unique_ptr<pcre2_real_match_data_8, Free> data_;
  };
  struct Range {
    size_t begin, end;
  };

  // The error shows the pattern and where it is wrong.
  static Result<Regex> compile(const std::string& pattern);

  // The first match at or after `from` in valid UTF-8. False: none, or the pattern backtracks beyond PCRE2's limits (10 million
  // steps, 20 GB), which stops a pattern that takes exponential time; the rest of the text then counts as not matched.
  bool search(std::string_view text, size_t from, Matches& matches, Range& found) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

// The same pattern in PCRE2's syntax. Fails on what it does not have: classes within classes, and intersections of classes.
Result<std::string> translate_oniguruma(std::string_view pattern);

}  // namespace sluice
