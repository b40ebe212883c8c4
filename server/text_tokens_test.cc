#include "server/text_tokens.h"

#include "server/test_service.h"

namespace sluice::testing {
namespace {

class TextTokensTest : public ::testing::Test {
 protected:
  Tokenizer tokenizer = *Tokenizer::load(SLUICE_SOURCE_DIR "/demo/model");
  TextTokens tokens{tokenizer};

  void add(std::string_view text) {
    for (const int32_t id : tokenizer.encode(text, true)) tokens.add({{.id = id}, {}});
  }
  std::string take(std::string_view text) {
    std::string bytes;
    for (const SampledToken& t : tokens.take(text)) bytes += tokenizer.token_bytes(t.id);
    return bytes;
  }
};

TEST_F(TextTokensTest, WhatWasLeftOutIsPassedOver) {
  add("</think>\n\nThe answer"), add("<|im_end|>");
  EXPECT_EQ(take("The answer"), "The answer");
  EXPECT_EQ(take("no"), "<|im_end|>");
  EXPECT_EQ(take("no"), "");
}

TEST_F(TextTokensTest, ATokenBelongsToTheTextThatBeginsIt) {
  const std::string word = "123456";
  add(word), add(" and more");
  std::string both;
  for (const char digit : word) both += take({&digit, 1});
  EXPECT_EQ(both, word);
  EXPECT_EQ(take(" and more"), " and more");

  // Bytes that come late: a character of several tokens, as it comes from the detokenizer.
  for (const int32_t id : tokenizer.encode("ab", false)) tokens.add({{.id = id}, {}});
  EXPECT_EQ(take("a").substr(0, 1), "a");
}

TEST_F(TextTokensTest, TextThatTheTokensDoNotSpellTakesAll) {
  add("abc");
  EXPECT_EQ(take("\xEF\xBF\xBD"), "abc");
  add("def");
  tokens.clear();
  EXPECT_EQ(take("def"), "");
  add("ghi");
  EXPECT_EQ(take("ghi"), "ghi");
}

}  // namespace
}  // namespace sluice::testing
