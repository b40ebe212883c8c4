// What holds for every text: random ones made of tags and words, and valid answers with random damage.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <random>

#include "text/tool_parser.h"
#include "text/tool_parser_test_support.h"

namespace sluice::testing {
namespace {

using Random = std::mt19937;

bool is_json_object(const std::string& text) {
  boost::json::error_code ec;
  boost::json::parse_options options;
  options.max_depth = 100;
  const boost::json::value value = boost::json::parse(text, ec, {}, options);
  return !ec && value.is_object();
}

std::vector<size_t> random_cuts(Random& random, std::string_view text) {
  std::vector<size_t> cuts;
  const unsigned rarity = 1 + random() % 20;
  for (const size_t place : places_between_characters(text))
    if (random() % rarity == 0) cuts.push_back(place);
  return cuts;
}

void check(Random& random, const std::string& text, const Setting& setting) {
  const Transcript whole = transcript(text, setting);
  ASSERT_EQ(whole.fault(), "") << text;
  ASSERT_FALSE(whole.in_call()) << text;
  for (const std::string& arguments : whole.arguments()) ASSERT_TRUE(is_json_object(arguments)) << arguments << "\nof\n" << text;
  ASSERT_EQ(transcript(text, setting, places_between_characters(text)).text(), whole.text()) << text;
  for (int i = 0; i < 3; ++i) ASSERT_EQ(transcript(text, setting, random_cuts(random, text)).text(), whole.text()) << text;
  if (setting.format.reasoning == Reasoning::kOff && whole.arguments().empty()) {
    ASSERT_EQ(whole.text(), text.empty() ? "" : "C{" + text + "}");
  }
}

Setting random_setting(Random& random) {
  static const boost::json::value tools = test_tools();
  constexpr ToolFormat kFormats[] = {ToolFormat::kQwenXml, ToolFormat::kHermesJson, ToolFormat::kQwenXml, ToolFormat::kHermesJson,
                                     ToolFormat::kNone};
  constexpr Reasoning kReasonings[] = {Reasoning::kOff, Reasoning::kModelOpens, Reasoning::kPromptOpened};
  return {{kFormats[random() % 5], kReasonings[random() % 3]}, random() % 8 == 0 ? boost::json::value() : tools};
}

const std::vector<std::string> kFragments = {"<think>",
                                             "</think>",
                                             "<tool_call>",
                                             "</tool_call>",
                                             "<tool_call>\n",
                                             "\n</tool_call>",
                                             "\n",
                                             "\n\n",
                                             " ",
                                             "<",
                                             "</",
                                             "<function=put>",
                                             "<function=now>\n",
                                             "<function=other>",
                                             "</function>",
                                             "<function=",
                                             "<parameter=s>",
                                             "<parameter=i>\n",
                                             "<parameter=o>\n",
                                             "<parameter=maybe>\n",
                                             "<parameter=zz>\n",
                                             "</parameter>",
                                             "\n</parameter>\n",
                                             "</parameter",
                                             ">",
                                             "{\"name\": \"put\", \"arguments\": {",
                                             "{\"name\": \"now\"}",
                                             "{\"arguments\": {\"s\": 1}, \"name\": \"put\"}",
                                             "{\"name\":",
                                             "{",
                                             "}",
                                             "}}",
                                             "[",
                                             "]",
                                             "\"",
                                             "\"s\": ",
                                             "\"s\": \"",
                                             ", ",
                                             ":",
                                             "\\",
                                             "\\u12",
                                             "\\ud83d",
                                             "\\ude42",
                                             "1",
                                             "-",
                                             "2.5e",
                                             "true",
                                             "nul",
                                             "None",
                                             "null",
                                             "x",
                                             "word",
                                             "é",
                                             "🙂",
                                             "\x01",
                                             "\t",
                                             "'",
                                             "\xEF\xBF\xBD",
                                             "<tool_call>\n<function=put>\n<parameter=s>\n",
                                             "\n</parameter>\n</function>\n</tool_call>",
                                             "<tool_call>\n{\"name\": \"put\", \"arguments\": {\"s\": \""};

std::string random_text(Random& random) {
  std::string text;
  for (unsigned n = random() % 25; n > 0; --n) text += kFragments[random() % kFragments.size()];
  return text;
}

TEST(ToolParserProperties, RandomTags) {
  Random random(1);
  for (int i = 0; i < 6000 && !HasFatalFailure(); ++i) check(random, random_text(random), random_setting(random));
}

const std::vector<std::string> kAnswers = {
    "<think>\nI look.\n</think>\n\nWell.\n\n<tool_call>\n<function=put>\n<parameter=s>\na <b> "
    "\"c\"\n</parameter>\n<parameter=i>\n12\n</parameter>\n"
    "<parameter=o>\n{\"k\": [1, "
    "\"é\"]}\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
    "I "
    "look.\n</think>\n\n<tool_call>\n<function=put>\n<parameter=b>\nTrue\n</parameter>\n<parameter=maybe>\nnull\n</parameter>\n</"
    "function>\n</tool_call>",
    "<think>\nI look.\n</think>\n\nWell.\n<tool_call>\n{\"name\": \"put\", \"arguments\": {\"s\": \"a <b> "
    "\\\"c\\u00e9\\ud83d\\ude42\", \"i\": -1.5e3, \"o\": "
    "{\"k\": [true, null]}}}\n</tool_call>\n<tool_call>\n{\"arguments\": {}, \"name\": \"now\"}\n</tool_call>\n",
};

// A few characters left out, doubled, or put in.
std::string damaged(Random& random, std::string text) {
  for (unsigned n = random() % 5; n > 0 && !text.empty(); --n) {
    const auto places = places_between_characters(text);
    if (places.size() < 2) break;
    const size_t begin = places[random() % places.size()];
    const size_t end = *std::min_element(places.begin(), places.end(), [&](size_t a, size_t b) {
      return (a <= begin ? SIZE_MAX : a) < (b <= begin ? SIZE_MAX : b);
    });
    const std::string character = end > begin ? text.substr(begin, end - begin) : "";
    switch (random() % 4) {
      case 0:
        text.erase(begin, character.size());
        break;
      case 1:
        text.insert(begin, character);
        break;
      case 2:
        text.insert(begin, kFragments[random() % kFragments.size()]);
        break;
      default:
        text.erase(begin);
        break;
    }
  }
  return text;
}

TEST(ToolParserProperties, DamagedAnswers) {
  Random random(2);
  for (int i = 0; i < 6000 && !HasFatalFailure(); ++i)
    check(random, damaged(random, kAnswers[random() % kAnswers.size()]), random_setting(random));
}

// Words between the tags: each comes out somewhere, and in order. Members of a call's object beside name and arguments do not come
// out, so there are no fragments of which they could be made.
TEST(ToolParserProperties, NoWordIsLost) {
  Random random(3);
  std::vector<std::string> fragments;
  for (const std::string& fragment : kFragments)
    if (fragment.find('"') == std::string::npos || fragment.find("arguments") != std::string::npos) fragments.push_back(fragment);
  for (int i = 0; i < 4000; ++i) {
    std::string text;
    const unsigned words = 1 + random() % 20;
    for (unsigned word = 0; word < words; ++word) {
      for (unsigned n = random() % 3; n > 0; --n) text += fragments[random() % fragments.size()];
      text += "w" + std::to_string(word) + "w";
    }
    const std::string result = transcript(text, random_setting(random)).text();
    size_t at = 0;
    for (unsigned word = 0; word < words; ++word) {
      at = result.find("w" + std::to_string(word) + "w", at);
      ASSERT_NE(at, std::string::npos) << "word " << word << " of\n" << text << "\nin\n" << result;
    }
  }
}

// The same answer said over and over is parsed the same each time.
TEST(ToolParserProperties, LongAnswers) {
  const boost::json::value tools = test_tools();
  for (const auto& [format, answer] :
       {std::pair(ToolFormat::kQwenXml, kAnswers[1]), std::pair(ToolFormat::kHermesJson, kAnswers[2])}) {
    const std::string once = answer.substr(answer.find("</think>") + 8) + "x";
    std::string text;
    for (int i = 0; i < 300; ++i) text += once;
    const Setting setting{{format, Reasoning::kOff}, tools};
    const Transcript whole = transcript(text, setting);
    EXPECT_EQ(whole.arguments().size(), 300 * transcript(once, setting).arguments().size());
    EXPECT_EQ(whole.fault(), "");
    EXPECT_EQ(transcript(text, setting, places_between_characters(text)).text(), whole.text());
  }
}

}  // namespace
}  // namespace sluice::testing
