#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/out_of_memory.h"
#include "io/quote.h"

namespace sluice {
namespace {

// ^ and $ match at every line in Oniguruma's Ruby syntax. UCP: classes such as \d follow Unicode.
constexpr uint32_t kCompileOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
constexpr size_t kShownPattern = 400;  // bytes of a pattern in an error

// What a shorthand stands for, as the inside of a class. PCRE2's \s has U+180E, its \w lacks marks, its \h is horizontal space.
std::string_view members_of(char shorthand) {
  switch (shorthand) {
    case 's':
    case 'S':
      return "\\p{Z}\\x09-\\x0D\\x{85}";
    case 'w':
    case 'W':
      return "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
    case 'h':
    case 'H':
      return "0-9A-Fa-f";
    default:
      return {};
  }
}

pcre2_code* try_compile(std::string_view pattern, int& error, size_t& offset) {
  return pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), kCompileOptions, &error, &offset, nullptr);
}

}  // namespace

Result<std::string> translate_oniguruma(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  size_t class_begin = 0;  // first character that may be a literal ]
  const auto fail = [&](size_t at, const char* what) {
    return Status(Code::kUnsupported,
                  "pattern " + quote(pattern, kShownPattern) + " has " + what + " at byte " + std::to_string(at));
  };
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char next = pattern[++i];
      const std::string_view members = members_of(next);
      const bool negated = next >= 'A' && next <= 'Z';
      if (members.empty() || (in_class && negated)) {  // a negated one in a class stays: it differs only in the rarest characters
        out += {c, next};
      } else if (in_class) {
        out += members;
      } else {
        out.append(negated ? "[^" : "[").append(members).append("]");
      }
    } else if (!in_class && c == '[') {
      in_class = true;
      class_begin = i + 1 + (pattern.substr(i + 1, 1) == "^");
      out += c;
    } else if (in_class && c == ']' && i > class_begin) {
      in_class = false;
      out += c;
    } else if (in_class && c == '[') {
      if (pattern.substr(i, 2) != "[:") return fail(i, "a class within a class, which is not supported,");
      const size_t end = pattern.find(":]", i);
      if (end == std::string_view::npos) return fail(i, "an unclosed [:");
      out += pattern.substr(i, end + 2 - i);
      i = end + 1;
    } else if (in_class && pattern.substr(i, 2) == "&&") {
      return fail(i, "an intersection of classes, which is not supported,");
    } else {
      out += c;
    }
  }
  return out;
}

void Regex::Free::operator()(pcre2_code* code) const { pcre2_code_free(code); }
void Regex::Matches::Free::operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
Regex::Matches::Matches() : data_(pcre2_match_data_create(1, nullptr)) {
  if (!data_) throw std::bad_alloc();
}

Result<Regex> Regex::compile(const std::string& pattern) {
  SLUICE_ASSIGN_OR_RETURN(const std::string translated, translate_oniguruma(pattern));
  int error = 0;
  size_t offset = 0;
  if (pcre2_code* code = try_compile(translated, error, offset)) {
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter does it
    return Regex(code);
  }
  if (error == PCRE2_ERROR_HEAP_FAILED) return out_of_memory();
  // The offset is more useful in the pattern as it was written, and most errors are there too.
  std::string_view shown = translated;
  int original_error = 0;
  size_t original_offset = 0;
  if (pcre2_code* code = try_compile(pattern, original_error, original_offset)) {
    pcre2_code_free(code);
  } else {
    shown = pattern, error = original_error, offset = original_offset;
  }
  unsigned char reason[256] = {};
  pcre2_get_error_message(error, reason, sizeof reason);
  return bad_file("pattern " + quote(shown, kShownPattern) + " does not compile: " + reinterpret_cast<const char*>(reason) +
                  " at byte " + std::to_string(offset));
}

bool Regex::search(std::string_view text, size_t from, Matches& matches, Range& found) const {
  const auto match = [&](uint32_t options) {
    // The text was validated once: without NO_UTF_CHECK every search would read all of it again.
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from, options | PCRE2_NO_UTF_CHECK,
                       matches.data_.get(), nullptr);
  };
  int rc = match(0);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);  // the interpreter keeps its stack on the heap
  if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
  if (rc < 0) return false;
  const size_t* ends = pcre2_get_ovector_pointer(matches.data_.get());
  found = {ends[0], ends[1]};
  return found.begin <= found.end && found.begin >= from;  // \K can put them anywhere
}

}  // namespace sluice
