// UTF-8 as the Unicode standard defines it (table 3-7): no surrogates, no over-long forms, nothing above U+10FFFF.
//
// The rule for bad bytes, everywhere: each maximal bad part (the longest start of a well-formed character, or one byte) becomes
// one U+FFFD. That is what Rust, Python and browsers do.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sluice {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

struct Utf8Unit {
  enum Kind : uint8_t {
    kGood,    // a character
    kBad,     // bytes that no character has
    kCutOff,  // the start of a character, and the text ends
  };
  char32_t code;
  uint8_t length;  // bytes
  Kind kind;
};

// The first unit of `s`, which is not empty.
inline Utf8Unit next_utf8(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8Unit::kGood};
  const uint8_t need = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (need == 0) return {0xFFFD, 1, Utf8Unit::kBad};
  // The second byte has a narrower range after four of the leads: over-long forms, surrogates, beyond U+10FFFF.
  unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t code = lead & (0x7Fu >> need);
  for (uint8_t i = 1; i < need; ++i) {
    if (i == s.size()) return {0xFFFD, i, Utf8Unit::kCutOff};
    if (byte(i) < low || byte(i) > high) return {0xFFFD, i, Utf8Unit::kBad};
    code = code << 6 | (byte(i) & 0x3Fu);
    low = 0x80, high = 0xBF;
  }
  return {code, need, Utf8Unit::kGood};
}

// Bytes below 0x80 at the start of `s`.
inline size_t ascii_prefix(std::string_view s) {
  size_t i = 0;
  for (uint64_t eight; i + 8 <= s.size(); i += 8) {
    std::memcpy(&eight, s.data() + i, 8);
    if (eight & 0x8080808080808080u) break;
  }
  while (i < s.size() && static_cast<unsigned char>(s[i]) < 0x80) ++i;
  return i;
}

bool utf8_valid(std::string_view s);

void append_utf8(std::string& out, char32_t code);

// Appends `bytes`, each bad part as U+FFFD. Returns how many bytes were used: fewer than all only when `keep_cut_off` is set
// and the end could be the start of a character.
size_t append_lossy(std::string& out, std::string_view bytes, bool keep_cut_off = false);

}  // namespace sluice
