#include "text/pretokenize.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace sluice {
namespace {

namespace json = boost::json;
using Pieces = std::vector<std::string>;

PreTokenizer pretokenizer(const std::string& steps) {
  const std::string text = R"({"type": "Sequence", "pretokenizers": [)" + steps +
                           R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
  return PreTokenizer::parse(parse_json(text, "test").value(), "test").value();
}

Pieces split(const PreTokenizer& p, std::string_view text) {
  Pieces pieces;
  Regex::Matches matches;
  p.split(text, matches, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

Pieces split_by(const std::string& pattern, const std::string& behaviour, bool invert, std::string_view text) {
  return split(pretokenizer(R"({"type": "Split", "pattern": )" + pattern + R"(, "behavior": ")" + behaviour + R"(", "invert": )" +
                            (invert ? "true" : "false") + "},"),
               text);
}

// The expected pieces are those of Hugging Face's tokenizers 0.23.3.
TEST(PreTokenizer, Behaviours) {
  const std::string dash = R"({"String": "-"})", text = "the-final--countdown-";
  EXPECT_EQ(split_by(dash, "Removed", false, text), (Pieces{"the", "final", "countdown"}));
  EXPECT_EQ(split_by(dash, "Isolated", false, text), (Pieces{"the", "-", "final", "-", "-", "countdown", "-"}));
  EXPECT_EQ(split_by(dash, "MergedWithPrevious", false, text), (Pieces{"the-", "final-", "-", "countdown-"}));
  EXPECT_EQ(split_by(dash, "MergedWithNext", false, text), (Pieces{"the", "-final", "-", "-countdown", "-"}));
  EXPECT_EQ(split_by(dash, "Contiguous", false, text), (Pieces{"the", "-", "final", "--", "countdown", "-"}));
  EXPECT_EQ(split_by(dash, "Removed", true, text), (Pieces{"-", "-", "-", "-"}));
  EXPECT_EQ(split_by(R"({"Regex": "\\d*"})", "Isolated", false, "ab12c"), (Pieces{"a", "b", "12", "c"}));
}

TEST(PreTokenizer, ByteLevelPatternAndPrefixSpace) {
  const auto p = PreTokenizer::parse(parse_json(R"({"type": "ByteLevel"})", "test").value(), "test").value();
  EXPECT_EQ(split(p, "Hello there  I'm 12"), (Pieces{" Hello", " there", " ", " I", "'m", " 12"}));
  EXPECT_EQ(split(p, " x"), (Pieces{" x"}));
  EXPECT_EQ(split(p, ""), Pieces{});
}

TEST(PreTokenizer, StepsFollowEachOther) {
  const auto p = pretokenizer(R"({"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated"},
                                 {"type": "Split", "pattern": {"Regex": "[a-z]+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated"},)");
  EXPECT_EQ(split(p, "ab  12345c!"), (Pieces{"ab", "  ", "123", "45", "c", "!"}));
}

TEST(PreTokenizer, OnigurumaClasses) {
  // U+180E is white space for PCRE2's \s and not for Oniguruma's; U+0085 is for both. U+017F is an s of another case.
  EXPECT_EQ(split_by(R"({"Regex": "\\s"})", "Isolated", false, "a\u180Eb"), (Pieces{"a\u180Eb"}));
  EXPECT_EQ(split_by(R"({"Regex": "[x\\s]"})", "Isolated", false, "a\u0085b"), (Pieces{"a", "\u0085", "b"}));
  EXPECT_EQ(split_by(R"({"Regex": "\\S+"})", "Isolated", false, "a\u180E \tb"), (Pieces{"a\u180E", " \t", "b"}));
  EXPECT_EQ(split_by(R"({"Regex": "\\w+"})", "Isolated", false, "e\u0301\u203F-"), (Pieces{"e\u0301\u203F", "-"}));
  EXPECT_EQ(split_by(R"({"Regex": "\\h+"})", "Isolated", false, "xbeef g"), (Pieces{"x", "beef", " g"}));
  EXPECT_EQ(split_by(R"x({"Regex": "(?i:'s)"})x", "Isolated", false, "a'\u017Fb"), (Pieces{"a", "'\u017F", "b"}));
  EXPECT_EQ(split_by(R"({"Regex": "[]x]"})", "Isolated", false, "a]x"), (Pieces{"a", "]", "x"}));
}

TEST(PreTokenizer, ClassesThatStayAsTheyAre) {
  EXPECT_EQ(split_by(R"({"Regex": "[[:digit:]x]+"})", "Isolated", false, "a1x]"), (Pieces{"a", "1x", "]"}));
  EXPECT_EQ(split_by(R"({"Regex": "[^\\Sa]+"})", "Isolated", false, "b \tc"), (Pieces{"b", " \t", "c"}));
  EXPECT_EQ(split_by(R"({"Regex": "[&a]+|&&"})", "Isolated", false, "b&a&&c"), (Pieces{"b", "&a&&", "c"}));
  EXPECT_EQ(split_by(R"({"Regex": "[^]x]+"})", "Isolated", false, "]ab"), (Pieces{"]", "ab"}));
}

TEST(PreTokenizer, PlainTextIsNoPattern) {
  const std::string plain = R"(_aZ09.*+?[](){}^$|/#@`~\u00e9)";
  EXPECT_EQ(split_by(R"({"String": ")" + plain + R"("})", "Isolated", false, "x_aZ09.*+?[](){}^$|/#@`~\u00e9y"),
            (Pieces{"x", "_aZ09.*+?[](){}^$|/#@`~\u00e9", "y"}));
}

TEST(PreTokenizer, PrefixSpaceWithoutAPattern) {
  const json::value step = {{"type", "ByteLevel"}, {"use_regex", false}};
  const auto p = PreTokenizer::parse(step, "test").value();
  EXPECT_EQ(split(p, "Hello there"), (Pieces{" Hello there"}));
  EXPECT_EQ(split(p, " x"), (Pieces{" x"}));
}

TEST(PreTokenizer, RefusesWhatItDoesNotKnow) {
  const std::string steps = R"({"type": "Sequence", "pretokenizers": [)", byte_level = R"({"type": "ByteLevel"})";
  const std::string dash = R"({"type": "Split", "pattern": {"String": "-"}, "behavior": "Removed"})";
  std::string nested = byte_level, place = "test", many;
  for (int i = 0; i < 9; ++i) nested = steps + nested + "]}";
  for (int i = 0; i < 8; ++i) place += ".pretokenizers[0]";
  for (int i = 0; i < 64; ++i) many += dash + ",";
  const auto split = [](const std::string& fields) { return R"({"type": "Split", )" + fields + "}"; };
  const auto regex = [&](const std::string& pattern) {
    return split(R"("behavior": "Removed", "pattern": {"Regex": ")" + pattern + "\"}");
  };
  const struct {
    std::string description, message;
  } cases[] = {
      {"5", "test is 5, wanted an object"},
      {"[]", "test is an array, wanted an object"},
      {R"("ByteLevel")", "test is 'ByteLevel', wanted an object"},
      {"{}", "test.type is missing, wanted a string"},
      {R"({"type": {}})", "test.type is an object, wanted a string"},
      {R"({"type": "Sequence"})", "test.pretokenizers is missing, wanted an array"},
      {R"({"type": "Sequence", "pretokenizers": 5})", "test.pretokenizers is 5, wanted an array"},
      {steps + "]}", "test has no ByteLevel step, wanted one: only byte-level models are supported"},
      {steps + byte_level + "," + dash + "]}", "test.pretokenizers[1].type is 'Split' after ByteLevel, wanted ByteLevel last"},
      {nested, place + " is nested deeper than 8 Sequences"},
      {steps + many + byte_level + "]}", "test.pretokenizers[64] comes after 64 steps, wanted no more than that"},
      {dash, "test has no ByteLevel step, wanted one: only byte-level models are supported"},
      {split(R"("behavior": "Removed")"), "test.pattern is missing, wanted an object with Regex or String"},
      {split(R"("pattern": "-")"), "test.pattern is '-', wanted an object"},
      {split(R"("pattern": {})"), "test.pattern.Regex is missing, wanted a string"},
      {split(R"("pattern": {"String": 5})"), "test.pattern.String is 5, wanted a string"},
      {split(R"("pattern": {"String": "-"})"), "test.behavior is missing, wanted a string"},
      {split(R"("pattern": {"String": "-"}, "behavior": "Kept")"),
       "test.behavior is 'Kept', wanted Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous"},
      {split(R"("pattern": {"String": "-"}, "behavior": "Removed", "invert": 1)"), "test.invert is 1, wanted true or false"},
      {R"({"type": "ByteLevel", "use_regex": 1})", "test.use_regex is 1, wanted true or false"},
      {R"({"type": "ByteLevel", "add_prefix_space": 1})", "test.add_prefix_space is 1, wanted true or false"},
      {regex("x[a&&b]"), "test.pattern.Regex: pattern 'x[a&&b]' has an intersection of classes, which is not supported, at byte 3"},
      {regex("[[:alpha"), "test.pattern.Regex: pattern '[[:alpha' has an unclosed [: at byte 1"},
      {regex("a\\\\"), "test.pattern.Regex: pattern 'a\\' does not compile: \\ at end of pattern at byte 2"},
  };
  for (const auto& c : cases)
    EXPECT_EQ(PreTokenizer::parse(parse_json(c.description, "test").value(), "test").status().message(), c.message);
  const std::string allowed = nested.substr(steps.size(), nested.size() - steps.size() - 2);  // one Sequence less
  EXPECT_TRUE(PreTokenizer::parse(parse_json(allowed, "test").value(), "test").ok());
}

TEST(PreTokenizer, PatternMayNeedMoreStackThanCompiledCodeHas) {
  const std::string text(200'000, 'a');
  EXPECT_EQ(split_by(R"x({"Regex": "(?:(a)|b)+"})x", "Isolated", false, text + "!"), (Pieces{text, "!"}));
}

TEST(PreTokenizer, ExponentialPatternEnds) {
  const std::string text = std::string(5000, 'a') + "!";
  EXPECT_EQ(split_by(R"({"Regex": "(a+)+b"})", "Isolated", false, text), (Pieces{text}));
}

std::string nfc(const std::string& text) {
  std::string out;
  std::vector<Rewrite> rewrites;
  return to_nfc(text, out, rewrites) ? out : text;
}

TEST(Unicode, Nfc) {
  EXPECT_EQ(nfc("plain ascii text"), "plain ascii text");
  EXPECT_EQ(nfc("e\u0301e\u0301 e"), "\u00E9\u00E9 e");
  EXPECT_EQ(nfc("\u1E9B\u0323"), "\u1E9B\u0323");  // long s with dot above, dot below
  EXPECT_EQ(nfc("s\u0307\u0323"), "\u1E69");       // marks are put in order first
  EXPECT_EQ(nfc("\u00E9\u0323"), "\u1EB9\u0301");  // and taken off a letter that has one
  EXPECT_EQ(nfc("\u1112\u1161\u11AB"), "\uD55C");  // Hangul
  EXPECT_EQ(nfc("\uD558\u11AB"), "\uD55C");
  EXPECT_EQ(nfc("\u212B\u2126"), "\u00C5\u03A9");  // singletons
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093C");        // excluded from composition
  EXPECT_EQ(nfc("\u0301\u0301"), "\u0301\u0301");  // no base
  EXPECT_EQ(nfc("\u304B\u3099"), "\u304C");
}

TEST(Unicode, RewritesSayWhatMoved) {
  std::string out;
  std::vector<Rewrite> rewrites;
  ASSERT_TRUE(to_nfc("ab e\u0301 c e\u0300", out, rewrites));
  ASSERT_EQ(rewrites.size(), 2u);
  EXPECT_EQ(out.substr(rewrites[1].out_begin, rewrites[1].out_end - rewrites[1].out_begin), "\u00E8");
  EXPECT_EQ(rewrites[1].in_begin, 9u);
  EXPECT_EQ(rewrites[1].in_end, 12u);
  EXPECT_FALSE(to_nfc("\u1EB9\u0301", out, rewrites));
  EXPECT_TRUE(out.empty() && rewrites.empty());
}

TEST(Unicode, WhiteSpaceAndCharactersOfWords) {
  for (const char32_t c : {0x09, 0x0A, 0x0D, 0x20, 0x85, 0xA0, 0x2003, 0x2028, 0x2029, 0x3000})
    EXPECT_TRUE(is_white_space(c)) << +c;
  for (const char32_t c : {0x00, 0x08, 0x0E, 0x1F, 0x21, 0x84, 0x86, 0x180E, 0x200B}) EXPECT_FALSE(is_white_space(c)) << +c;
  // Letters of all cases and none, marks, digits and numerals, connectors, circled and squared letters, joiners.
  for (const char32_t c : {0x41,   0x61,   0x1C5,  0x2B0,   0x5B57,  0x301,   0x903,   0x20DD,  0x37,    0x2160, 0x5F,
                           0x203F, 0x24B6, 0x24E9, 0x1F130, 0x1F149, 0x1F150, 0x1F169, 0x1F170, 0x1F189, 0x200C, 0x200D})
    EXPECT_TRUE(is_word_character(c)) << +c;
  for (const char32_t c : {0x20, 0x2D, 0xA9, 0xB2, 0x200B, 0x200E, 0x24B5, 0x24EA, 0x2500, 0x1F12F, 0x1F14A, 0x1F16A, 0x1F18A})
    EXPECT_FALSE(is_word_character(c)) << +c;
}

TEST(Utf8, EveryScalarValueAndNothingElse) {
  for (char32_t c = 0; c < 0x110000; c += c < 0x1000 ? 1 : 7) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    const Utf8Unit unit = next_utf8(text);
    ASSERT_TRUE(unit.kind == Utf8Unit::kGood && unit.code == c && unit.length == text.size()) << uint32_t(c);
  }
  for (const char* bad :
       {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5", "a\xE2\x82"})
    EXPECT_FALSE(utf8_valid(bad));
}

}  // namespace
}  // namespace sluice
