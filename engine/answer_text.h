// An answer's text as its tokens come: whole characters only, cut where a stop string begins or, if wanted, ends.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/detokenizer.h"

namespace sluice {

class AnswerText {
 public:
  // include_stop: the cut is behind the stop string.
  AnswerText(const Tokenizer& tokenizer, std::vector<std::string> stop_strings, bool skip_special = true, bool include_stop = false)
      : detokenizer_(tokenizer, skip_special), stops_(std::move(stop_strings)), include_stop_(include_stop) {}

  // What is certain after this token. Holds back what may be the beginning of a stop string.
  std::string push(int32_t id) { return release(detokenizer_.push(id)); }
  // The rest, once no token follows.
  std::string finish();
  bool stopped() const { return stopped_; }
  const std::string& stop_string() const { return stop_string_; }  // once stopped

 private:
  std::string release(const std::string& piece);

  Detokenizer detokenizer_;
  std::vector<std::string> stops_;
  bool include_stop_;
  std::string held_, stop_string_;
  bool stopped_ = false;
};

}  // namespace sluice
