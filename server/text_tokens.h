// Which tokens a piece of an answer's text was written with. Text comes later than its tokens, and some of it, tags and what is
// behind a stop string, never comes.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "text/tokenizer.h"

namespace sluice {

class TextTokens {
 public:
  explicit TextTokens(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void add(const SampledToken& token);
  // The tokens of the text that comes next; those before it, of text that was left out, are passed over. A token that goes on
  // behind the text belongs to it. Where the tokens do not spell the text (half characters that never became whole), all there are.
  std::vector<SampledToken> take(std::string_view text);
  void clear();

 private:
  struct Piece {
    SampledToken token;
    size_t begin, end;  // bytes of the whole text
  };
  const Tokenizer& tokenizer_;
  std::deque<Piece> pieces_;
  std::string bytes_;  // of the tokens, from begin_ on
  size_t begin_ = 0;
};

}  // namespace sluice
