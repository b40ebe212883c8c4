#include "text/pretokenize.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace sluice {
namespace {

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
