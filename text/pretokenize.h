// The pre-tokenizer of tokenizer.json: cuts text into the pieces that are encoded one by one.
//
// Steps: Split (a pattern or a plain string, all five behaviours, inverted or not) and ByteLevel (with or without its own
// pattern and its prefix space), alone or in Sequences. ByteLevel's renaming of bytes is not done: our tokens are bytes.
#pragma once

#include <boost/json/value.hpp>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/regex.h"

namespace sluice {

class PreTokenizer {
 public:
  // `where` names the field. Fails on other types, and when no step is ByteLevel: then the model is not over bytes.
  static Result<PreTokenizer> parse(const boost::json::value& description, const std::string& where);

  using Sink = std::function<void(std::string_view piece)>;
  // Calls `sink` with the pieces of valid UTF-8 in order, none empty. A piece lives until the sink returns.
  void split(std::string_view text, Regex::Matches& matches, const Sink& sink) const { run(0, text, matches, sink); }

 private:
  enum class Behaviour { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Step {
    bool prefix_space = false;  // put a space before a piece that does not begin with one
    std::vector<Regex> regex;   // none or one
    Behaviour behaviour = Behaviour::kIsolated;
    bool invert = false;
  };

  Status add(const boost::json::value& description, const std::string& where, int depth);
  Status add_split(const boost::json::value& description, const std::string& where);
  Status add_byte_level(const boost::json::value& description, const std::string& where);
  static bool joins(Behaviour behaviour, bool last_is_match, bool is_match);
  void run(size_t step, std::string_view text, Regex::Matches& matches, const Sink& sink) const;
  void cut(size_t step, std::string_view text, Regex::Matches& matches, const Sink& sink) const;

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace sluice
