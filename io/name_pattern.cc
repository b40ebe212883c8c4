#include "io/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "io/quote.h"

namespace sluice {

Result<NamePattern> NamePattern::parse(const std::string& text) {
  constexpr std::string_view kMark = "re:";
  if (!text.starts_with(kMark)) return NamePattern(text, Kind::kName);
  NamePattern p(text, Kind::kRegex);
  int error = 0;
  size_t offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data() + kMark.size()), text.size() - kMark.size(),
                                   PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr);
  if (!code) {
    unsigned char reason[256] = {};
    pcre2_get_error_message(error, reason, sizeof reason);
    return bad_file("pattern " + quote(text) + " does not compile: " + reinterpret_cast<const char*>(reason) + " at byte " +
                    std::to_string(offset + kMark.size()));
  }
  p.code_ = {code, pcre2_code_free};
  return p;
}

bool NamePattern::matches(std::string_view name) const {
  if (kind_ == Kind::kName) return name == text_;
  if (kind_ == Kind::kPart) return name == text_ || name.starts_with(text_ + ".") || name.ends_with("." + text_);
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> found(pcre2_match_data_create(1, nullptr),
                                                                                  pcre2_match_data_free);
  // A pattern that takes exponential time ends at PCRE2's limit, as one that does not match.
  return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, found.get(), nullptr) >= 0;
}

}  // namespace sluice
