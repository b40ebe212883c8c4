// tokenizer.json and, behind a NUL, tokenizer_config.json. In either, "$bytes":0 stands for the 256 tokens of single bytes, without
// which no vocabulary is taken: they are 3 KiB that every input would have to carry.
#include <algorithm>

#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace sluice::fuzz {
namespace {

// Ids cost memory up to the largest, 8 bytes each; how far they go is not for here.
constexpr size_t kMostDigits = 4;

// "!":33,... in GPT-2's alphabet: printable Latin-1 is itself, the others follow from U+0100 on.
std::string byte_tokens() {
  std::string out;
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    out += out.empty() ? "\"" : ",\"";
    if (b == '"' || b == '\\') out += '\\';
    append_utf8(out, printable ? char32_t(b) : next++);
    out += "\":" + std::to_string(b);
  }
  return out;
}

std::string expanded(std::string_view text) {
  static const std::string tokens = byte_tokens();
  constexpr std::string_view kMark = "\"$bytes\":0";
  const size_t at = text.find(kMark);
  if (at == std::string_view::npos) return std::string(text);
  return std::string(text.substr(0, at)) + tokens + std::string(text.substr(at + kMark.size()));
}

bool has_large_number(std::string_view text) {
  size_t digits = 0;
  for (const char c : text) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    if (digits > kMostDigits) return true;
  }
  return false;
}

void check_encoding(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool trusted : {false, true}) {
    const auto ids = tokenizer.encode(text, trusted);
    for (const int32_t id : ids) SLUICE_HOLDS(tokenizer.has(id));
    SLUICE_HOLDS(utf8_valid(tokenizer.decode(ids, false)));
  }
}

void check(const Tokenizer& tokenizer) {
  int32_t last = -1;
  for (const AddedToken& token : tokenizer.added_tokens()) {
    SLUICE_HOLDS(token.id > last && tokenizer.has(token.id) && tokenizer.is_special(token.id) == token.special);
    SLUICE_HOLDS(token.content.empty() || tokenizer.token_id(token.content) == token.id);
    last = token.id;
    check_encoding(tokenizer, "a" + token.content + " b");
  }
  for (const auto& id : {tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.pad_id()}) SLUICE_HOLDS(!id || tokenizer.has(*id));
  SLUICE_HOLDS(!tokenizer.has(-1) && !tokenizer.has(int32_t(tokenizer.vocab_size())));
  check_encoding(tokenizer, "The pear's 12 e\u0301t\u00e9s,\n \xff ab");
}

}  // namespace

void fuzz_one(std::string_view bytes) {
  if (has_large_number(bytes)) return;
  const size_t end = std::min(bytes.find('\0'), bytes.size());
  const std::string config = end < bytes.size() ? expanded(bytes.substr(end + 1)) : std::string();
  const auto tokenizer = Tokenizer::parse(expanded(bytes.substr(0, end)), "file", config, "file");
  if (!tokenizer.ok()) return check_refusal(tokenizer.status(), "file");
  check(*tokenizer);
}

}  // namespace sluice::fuzz
