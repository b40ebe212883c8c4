// What the tokenizer needs of Unicode: NFC in linear time, and two character classes. Data: utf8proc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// A stretch of text that normalisation changed; outside of these the bytes are the same.
struct Rewrite {
  size_t in_begin, in_end, out_begin, out_end;
};

// NFC of valid UTF-8. False when `text` is in NFC already: then `out` and `rewrites` are empty and nothing was copied.
bool to_nfc(std::string_view text, std::string& out, std::vector<Rewrite>& rewrites);

bool is_white_space(char32_t c);     // the property White_Space
bool is_word_character(char32_t c);  // Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control (UTS 18, annex C)

}  // namespace sluice
