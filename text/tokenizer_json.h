// Reads tokenizer.json in one pass. The two big parts, model.vocab and model.merges, go straight into compact form; only the
// rest becomes a JSON value. A vocabulary of 248k tokens has half a million strings, and a value for each of them would cost
// more time and memory than all else.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/vocabulary.h"

namespace sluice {

// model.merges as spelled in the file, in order of rank.
class MergeSpellings {
 public:
  void add(std::string_view left, std::string_view right);
  size_t size() const { return ends_.size(); }
  std::string_view left(size_t rank) const { return part(begin(rank), ends_[rank].left); }
  std::string_view right(size_t rank) const { return part(ends_[rank].left, ends_[rank].right); }
  std::string_view both(size_t rank) const { return part(begin(rank), ends_[rank].right); }

 private:
  struct Ends {
    uint32_t left, right;  // positions in text_
  };
  uint32_t begin(size_t rank) const { return rank ? ends_[rank - 1].right : 0; }
  std::string_view part(uint32_t begin, uint32_t end) const { return std::string_view(text_).substr(begin, end - begin); }

  std::string text_;
  std::vector<Ends> ends_;
};

struct TokenizerJson {
  boost::json::value rest;  // the file with model.vocab and model.merges left out
  Vocabulary vocab;
  MergeSpellings merges;
  bool has_vocab = false, has_merges = false;
};

// At most 2^32 bytes of text. Errors begin with `where`.
Result<TokenizerJson> read_tokenizer_json(std::string_view text, const std::string& where);

}  // namespace sluice
