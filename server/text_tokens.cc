#include "server/text_tokens.h"

namespace sluice {

void TextTokens::add(const SampledToken& token) {
  const size_t begin = begin_ + bytes_.size();
  bytes_ += tokenizer_.token_bytes(token.id);
  pieces_.push_back({token, begin, begin_ + bytes_.size()});
}

std::vector<SampledToken> TextTokens::take(std::string_view text) {
  size_t skipped = bytes_.find(text), length = text.size();
  if (skipped == std::string::npos) skipped = 0, length = bytes_.size();
  const size_t begin = begin_ + skipped, end = begin + length;
  std::vector<SampledToken> taken;
  for (; !pieces_.empty() && pieces_.front().begin < end; pieces_.pop_front())
    if (pieces_.front().end > begin) taken.push_back(std::move(pieces_.front().token));
  bytes_.erase(0, skipped + length);
  begin_ = end;
  return taken;
}

void TextTokens::clear() {
  begin_ += bytes_.size();
  bytes_.clear();
  pieces_.clear();
}

}  // namespace sluice
