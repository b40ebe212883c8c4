#include "engine/answer_text.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace sluice {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer t = Tokenizer::load(SLUICE_SOURCE_DIR "/demo/model").value();
  return t;
}

// A flag is two characters, a family five, and each of them several tokens of the demo model.
const std::vector<std::string> kUnits = {
    "a", "b", " ", ".", "\n", "é", "ß", "大", "世界", "ก็", "🇩🇪", "🇫🇷", "👋🏽", "👩‍👩‍👧", "\u0301", "𝄞"};

std::string random_text(std::mt19937& random, size_t most) {
  std::string text;
  for (size_t n = random() % (most + 1); n > 0; --n) text += kUnits[random() % kUnits.size()];
  return text;
}

// Tokens that spell the text and end anywhere, within characters too.
std::vector<int32_t> random_tokens(std::string_view text, std::mt19937& random) {
  static const std::map<std::string, int32_t> by_bytes = [] {
    std::map<std::string, int32_t> m;
    for (int32_t id = 0; id < int32_t(tokenizer().vocab_size()); ++id)
      if (!tokenizer().is_special(id)) m.emplace(tokenizer().token_bytes(id), id);
    return m;
  }();
  std::vector<int32_t> ids;
  while (!text.empty()) {
    auto found = by_bytes.end();
    for (size_t n = 1 + random() % 6; found == by_bytes.end(); --n) found = by_bytes.find(std::string(text.substr(0, n)));
    ids.push_back(found->second);
    text.remove_prefix(found->first.size());
  }
  return ids;
}

// By the definition: the stop string that is complete first, of two the longer.
std::optional<std::pair<size_t, size_t>> first_stop(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& s : stops)
      if (std::string_view(text).substr(0, end).ends_with(s)) longest = std::max(longest, s.size());
    if (longest > 0) return std::pair(end - longest, end);
  }
  return std::nullopt;
}

// Fault 16: wherever tokens and characters end, the cut is exact and no part of a stop string comes out first.
TEST(AnswerText, StopsAreCutExactlyHoweverTheyAreSplit) {
  std::mt19937 random(1);
  int stopped = 0;
  for (int round = 0; round < 10000; ++round) {
    const std::string text = random_text(random, 12);
    std::vector<std::string> stops;
    for (size_t n = random() % 4; n > 0; --n) {
      const std::string stop = random_text(random, 3);
      if (!stop.empty()) stops.push_back(stop);
    }
    const bool include = random() % 4 == 0;
    const auto stop = first_stop(text, stops);
    const std::string want = !stop ? text : text.substr(0, include ? stop->second : stop->first);
    AnswerText answer(tokenizer(), stops, true, include);
    std::string got;
    for (const int32_t id : random_tokens(text, random)) {
      const std::string part = answer.push(id);
      ASSERT_TRUE(utf8_valid(part));
      got += part;
      ASSERT_TRUE(want.starts_with(got)) << text << " | " << got;
    }
    got += answer.finish();
    ASSERT_EQ(got, want) << text;
    ASSERT_EQ(answer.stopped(), stop.has_value());
    if (stop) {
      ASSERT_EQ(answer.stop_string(), text.substr(stop->first, stop->second - stop->first));
    }
    stopped += stop.has_value();
  }
  EXPECT_GT(stopped, 1000);
  EXPECT_LT(stopped, 9000);
}

TEST(AnswerText, ASpecialTokenStopsWhereItIsShown) {
  std::vector<int32_t> ids = tokenizer().encode(std::string_view("one"), false);
  ids.push_back(*tokenizer().token_id("<|im_end|>"));
  for (const int32_t id : tokenizer().encode(std::string_view("two"), false)) ids.push_back(id);
  for (const bool skip : {false, true}) {
    AnswerText answer(tokenizer(), {"e<|im_end|>t"}, skip);
    std::string got;
    for (const int32_t id : ids) got += answer.push(id);
    EXPECT_EQ(got + answer.finish(), skip ? "onetwo" : "on");
    EXPECT_EQ(answer.stopped(), !skip);
  }
}

// Fault 17: no U+FFFD comes out that the whole text has not.
TEST(AnswerText, CharactersComeWhole) {
  std::mt19937 random(2);
  for (int round = 0; round < 10000; ++round) {
    const std::string text = random_text(random, 16);
    AnswerText answer(tokenizer(), {});
    std::string got;
    for (const int32_t id : random_tokens(text, random)) {
      const std::string part = answer.push(id);
      ASSERT_TRUE(utf8_valid(part));
      ASSERT_EQ(part.find(kReplacementCharacter), std::string::npos);
      got += part;
    }
    ASSERT_EQ(got, text) << "nothing is held back at a character's end";
    ASSERT_EQ(answer.finish(), "");
  }
  for (int round = 0; round < 10000; ++round) {
    std::vector<int32_t> ids(random() % 12);
    for (int32_t& id : ids) id = int32_t(random() % uint32_t(random() % 2 ? 300 : tokenizer().vocab_size()));
    AnswerText answer(tokenizer(), {"never to be said"});
    std::string got;
    for (const int32_t id : ids) got += answer.push(id);
    ASSERT_EQ(got + answer.finish(), tokenizer().decode(ids, true));
  }
}

}  // namespace
}  // namespace sluice
