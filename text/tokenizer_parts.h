// What a Tokenizer is made of. For tokenizer.cc, which uses it, and tokenizer_load.cc, which builds it.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace sluice {

struct Tokenizer::Parts {
  explicit Parts(PreTokenizer p) : pretokenizer(std::move(p)) {}

  Vocabulary vocabulary;  // of the model and the added tokens
  std::unique_ptr<const Bpe> bpe;
  bool nfc = false;
  PreTokenizer pretokenizer;
  std::vector<AddedToken> added;                  // by id
  AddedTokenMatcher raw_added, normalized_added;  // looked for before and after normalisation
  std::vector<bool> special;                      // [id]
  std::optional<int32_t> bos, eos, pad;
};

}  // namespace sluice
