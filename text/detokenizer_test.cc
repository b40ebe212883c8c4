#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/utf8.h"

namespace sluice {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer t = Tokenizer::load(SLUICE_TEST_DATA "/oracles/tokenizer").value();
  return t;
}

TEST(Detokenizer, PushesCompleteCharactersOnly) {
  // A flag, a family, CJK, a skin tone: every character of several tokens here.
  const std::string text = "x\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA\xE5\xA4\xA7\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7\xE2\x82\xACz";
  Detokenizer detokenizer(tokenizer(), false);
  std::string streamed;
  for (const int32_t id : tokenizer().encode(text, false)) {
    const std::string part = detokenizer.push(id);
    EXPECT_TRUE(utf8_valid(part));
    EXPECT_EQ(part.find(kReplacementCharacter), std::string::npos);
    streamed += part;
  }
  EXPECT_EQ(detokenizer.finish(), "");
  EXPECT_EQ(streamed, text);
}

TEST(Detokenizer, RandomIdsGiveWhatDecodeGives) {
  std::mt19937 random(1);
  for (int round = 0; round < 10000; ++round) {
    std::vector<int32_t> ids(random() % 12);
    for (int32_t& id : ids) id = int32_t(random() % 4 ? random() % 260 : random() % uint32_t(tokenizer().vocab_size()));
    const bool skip_special = round % 2;
    Detokenizer detokenizer(tokenizer(), skip_special);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string part = detokenizer.push(id);
      ASSERT_TRUE(utf8_valid(part));
      streamed += part;
    }
    ASSERT_EQ(streamed + detokenizer.finish(), tokenizer().decode(ids, skip_special));
  }
}

TEST(Detokenizer, UnfinishedCharacterIsOneReplacement) {
  const std::vector<int32_t> euro = {*tokenizer().token_id("\xC3\xA2"), *tokenizer().token_id("\xC4\xA4"),
                                     *tokenizer().token_id("\xC2\xAC")};
  Detokenizer detokenizer(tokenizer(), false);
  EXPECT_EQ(detokenizer.push(euro[0]), "");
  EXPECT_EQ(detokenizer.push(euro[1]), "");
  EXPECT_EQ(detokenizer.finish(), kReplacementCharacter);
  EXPECT_EQ(detokenizer.push(euro[0]), "");
  EXPECT_EQ(detokenizer.push(euro[1]), "");
  EXPECT_EQ(detokenizer.push(euro[2]), "\xE2\x82\xAC");
  EXPECT_EQ(detokenizer.push(euro[0]), "");
  EXPECT_EQ(detokenizer.push(*tokenizer().token_id("x")), std::string(kReplacementCharacter) + "x");
  EXPECT_EQ(detokenizer.finish(), "");
}

TEST(Detokenizer, SkippedTokensDoNotBreakCharacters) {
  const int32_t a = *tokenizer().token_id("\xC3\xA2"), b = *tokenizer().token_id("\xC4\xA4"), c = *tokenizer().token_id("\xC2\xAC");
  const int32_t special = *tokenizer().token_id("<|im_end|>");
  Detokenizer skipping(tokenizer(), true), keeping(tokenizer(), false);
  std::string skipped, kept;
  for (const int32_t id : {a, b, special, c}) skipped += skipping.push(id), kept += keeping.push(id);
  EXPECT_EQ(skipped + skipping.finish(), "\xE2\x82\xAC");
  EXPECT_EQ(kept + keeping.finish(), tokenizer().decode(std::vector<int32_t>{a, b, special, c}, false));
}

}  // namespace
}  // namespace sluice
