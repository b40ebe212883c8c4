// Tokens to text: a byte of flags, 4 bytes for how they are cut, then two bytes a token. Pushed one by one they say what all of
// them say together, in whole characters.
#include "text/detokenizer.h"

#include "tests/fuzz/fuzz.h"
#include "text/utf8.h"

namespace sluice::fuzz {

constexpr size_t kMostTokens = 200;  // what is certain is computed anew after each

void fuzz_one(std::string_view bytes) {
  static const Tokenizer known = Tokenizer::parse(source_file("tests/data/oracles/tokenizer/tokenizer.json"), "file").value();
  static const Tokenizer padded = known.for_vocabulary(known.vocab_size() + 10);
  Input in(bytes);
  const unsigned flags = in.below(256);
  const Tokenizer& tokenizer = flags & 1 ? padded : known;
  const bool skip_special = flags & 2;
  const uint64_t seed = in.number(4);
  std::vector<int32_t> ids;
  while (!in.empty() && ids.size() < kMostTokens)
    ids.push_back(int32_t(in.number(2) % uint64_t(known.vocab_size() + 30)) - 10);  // some are no tokens

  Detokenizer detokenizer(tokenizer, skip_special);
  std::string all, said;
  for (const int32_t id : ids) {
    const std::string now = detokenizer.push(id);
    SLUICE_HOLDS(utf8_valid(now));
    said += now;
    if (skip_special && tokenizer.is_special(id)) {
      SLUICE_HOLDS(now.empty());
      continue;
    }
    all += tokenizer.token_bytes(id);
    std::string certain;
    SLUICE_HOLDS(all.size() - append_lossy(certain, all, true) <= 3);
    SLUICE_HOLDS(said == certain);
  }
  said += detokenizer.finish();
  SLUICE_HOLDS(detokenizer.finish().empty());
  std::string wanted;
  append_lossy(wanted, all);
  SLUICE_HOLDS(said == wanted && tokenizer.decode(ids, skip_special) == wanted);

  // The bytes in any other pieces as well: that is all that a token is.
  std::string pieced, waiting;
  each_piece(all, random_cuts(seed, all.size()), [&](std::string_view piece) {
    waiting += piece;
    waiting.erase(0, append_lossy(pieced, waiting, true));
    SLUICE_HOLDS(waiting.size() <= 3);
  });
  append_lossy(pieced, waiting);
  SLUICE_HOLDS(pieced == wanted);
}

}  // namespace sluice::fuzz
