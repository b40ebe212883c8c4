#include "text/utf8.h"

namespace sluice {

bool utf8_valid(std::string_view s) {
  for (;;) {
    s.remove_prefix(ascii_prefix(s));
    if (s.empty()) return true;
    const Utf8Unit unit = next_utf8(s);
    if (unit.kind != Utf8Unit::kGood) return false;
    s.remove_prefix(unit.length);
  }
}

void append_utf8(std::string& out, char32_t code) {
  if (code < 0x80) {
    out += char(code);
    return;
  }
  if (code < 0x800) {
    out += char(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      out += char(0xE0 | code >> 12);
    } else {
      out += char(0xF0 | code >> 18);
      out += char(0x80 | (code >> 12 & 0x3F));
    }
    out += char(0x80 | (code >> 6 & 0x3F));
  }
  out += char(0x80 | (code & 0x3F));
}

size_t append_lossy(std::string& out, std::string_view bytes, bool keep_cut_off) {
  size_t copied = 0, i = 0;
  while (i < bytes.size()) {
    i += ascii_prefix(bytes.substr(i));
    if (i == bytes.size()) break;
    const Utf8Unit unit = next_utf8(bytes.substr(i));
    if (unit.kind != Utf8Unit::kGood) {
      out.append(bytes.substr(copied, i - copied));
      if (unit.kind == Utf8Unit::kCutOff && keep_cut_off) return i;
      out.append(kReplacementCharacter);
      copied = i + unit.length;
    }
    i += unit.length;
  }
  out.append(bytes.substr(copied));
  return bytes.size();
}

}  // namespace sluice
