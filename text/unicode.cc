#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>

#include "text/utf8.h"

namespace sluice {
namespace {

// An inert character is its own NFC and never joins the character before it, so text may be cut in front of it. What follows
// may join it. The ranges only save the look-up for common scripts.
bool is_inert(char32_t c) {
  if (c < 0x300) return true;                    // Latin
  if (c >= 0x4E00 && c <= 0x9FFF) return true;   // CJK ideographs
  if (c >= 0x400 && c <= 0x482) return true;     // Cyrillic
  if (c >= 0x2010 && c <= 0x2027) return true;   // dashes and quotation marks
  if (c >= 0x3041 && c <= 0x3096) return true;   // Hiragana
  if (c >= 0x30A1 && c <= 0x30FA) return true;   // Katakana
  if (c >= 0xAC00 && c <= 0xD7A3) return true;   // Hangul syllables
  if (c >= 0x1100 && c <= 0x11FF) return false;  // Hangul letters compose by arithmetic, not by table
  const utf8proc_property_t* p = utf8proc_get_property(utf8proc_int32_t(c));
  const bool decomposes = p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0;
  const bool second_of_pair = p->comb_index != UINT16_MAX && p->comb_index >= 0x8000;
  return p->combining_class == 0 && !decomposes && !second_of_pair;
}

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Decompose, order marks by class, compose. utf8proc's own ordering is quadratic in a run of marks, so it is done here.
void normalise(std::string_view text, std::vector<utf8proc_int32_t>& codes, std::string& out) {
  constexpr auto kOptions = utf8proc_option_t(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  constexpr int kLongest = 32;  // code points; the longest canonical decomposition has 4
  codes.clear();
  int boundary_class = 0;
  while (!text.empty()) {
    const Utf8Unit unit = next_utf8(text);
    text.remove_prefix(unit.length);
    utf8proc_int32_t parts[kLongest];
    const auto n = utf8proc_decompose_char(utf8proc_int32_t(unit.code), parts, kLongest, kOptions, &boundary_class);
    codes.insert(codes.end(), parts, parts + std::clamp<utf8proc_ssize_t>(n, 0, kLongest));
  }
  for (auto run = codes.begin(); run != codes.end();) {
    run = std::find_if(run, codes.end(), [](auto c) { return combining_class(c) != 0; });
    const auto end = std::find_if(run, codes.end(), [](auto c) { return combining_class(c) == 0; });
    std::stable_sort(run, end, [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    run = end;
  }
  const auto n = utf8proc_normalize_utf32(codes.data(), utf8proc_ssize_t(codes.size()), kOptions);
  for (utf8proc_ssize_t i = 0; i < n; ++i) append_utf8(out, char32_t(codes[size_t(i)]));
}

// Where the first character that is not inert begins, and the inert one before it.
struct Disturbance {
  size_t begin, previous;
};

Disturbance find_disturbance(std::string_view text, size_t from) {
  size_t i = from, previous = from;
  while (i < text.size()) {
    if (const size_t ascii = ascii_prefix(text.substr(i))) {
      i += ascii;
      previous = i - 1;
      if (i == text.size()) break;
    }
    const Utf8Unit unit = next_utf8(text.substr(i));
    if (!is_inert(unit.code)) return {i, previous};
    previous = i;
    i += unit.length;
  }
  return {text.size(), text.size()};
}

size_t find_inert(std::string_view text, size_t from) {
  while (from < text.size()) {
    const Utf8Unit unit = next_utf8(text.substr(from));
    if (is_inert(unit.code)) break;
    from += unit.length;
  }
  return from;
}

}  // namespace

bool to_nfc(std::string_view text, std::string& out, std::vector<Rewrite>& rewrites) {
  out.clear();
  rewrites.clear();
  std::vector<utf8proc_int32_t> codes;
  std::string piece;
  size_t copied = 0;
  for (size_t i = 0; i < text.size();) {
    const Disturbance d = find_disturbance(text, i);
    if (d.begin == text.size()) break;
    const size_t end = find_inert(text, d.begin);
    const std::string_view original = text.substr(d.previous, end - d.previous);
    piece.clear();
    normalise(original, codes, piece);
    if (piece != original) {
      out.append(text.substr(copied, d.previous - copied));
      rewrites.push_back({d.previous, end, out.size(), out.size() + piece.size()});
      out.append(piece);
      copied = end;
    }
    i = end;
  }
  if (rewrites.empty()) return false;
  out.append(text.substr(copied));
  return true;
}

bool is_white_space(char32_t c) {
  if (c <= 0x20) return c == 0x20 || (c >= 0x09 && c <= 0x0D);
  if (c == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(utf8proc_int32_t(c));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

bool is_word_character(char32_t c) {
  switch (utf8proc_category(utf8proc_int32_t(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    case UTF8PROC_CATEGORY_SO:  // circled and squared letters are Alphabetic
      return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
             (c >= 0x1F170 && c <= 0x1F189);
    default:
      return c == 0x200C || c == 0x200D;  // Join_Control
  }
}

}  // namespace sluice
