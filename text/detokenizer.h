// Tokens to text as they come. What push() and finish() return, put together, is decode() of all the ids; no push ends inside a
// character, and U+FFFD comes only where decode() has it.
#pragma once

#include <cstdint>
#include <string>

#include "text/tokenizer.h"

namespace sluice {

class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}

  // The text that is certain now: bytes that may be the start of a character, at most three, wait for the next token.
  std::string push(int32_t id);
  // What still waits: nothing, or one U+FFFD for a character that was never finished. Ready for another text then.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string waiting_;
};

}  // namespace sluice
