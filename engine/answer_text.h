// An answer's text as its tokens come: whole characters only, cut where a stop string begins.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/detokenizer.h"

namespace sluice {

class AnswerText {
 public:
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stop_strings)
      : detokenizer_(tokenizer, true), stops_(std::move(stop_strings)) {}

  // What is certain after this token. Holds back what may be the beginning of a stop string.
  std::string push(int32_t id) { return release(detokenizer_.push(id)); }
  // The rest, once no token follows.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::string release(const std::string& piece);

  Detokenizer detokenizer_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace sluice
