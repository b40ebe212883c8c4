#include "text/detokenizer.h"

#include "text/utf8.h"

namespace sluice {

std::string Detokenizer::push(int32_t id) {
  std::string text;
  if (skip_special_ && tokenizer_.is_special(id)) return text;
  waiting_ += tokenizer_.bytes(id);
  waiting_.erase(0, append_lossy(text, waiting_, true));
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  append_lossy(text, waiting_);
  waiting_.clear();
  return text;
}

}  // namespace sluice
