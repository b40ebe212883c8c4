#include "io/json.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "io/json_fields.h"
#include "io/quote.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

using sluice::testing::TempDir;

TEST(ParseJson, KeepsEveryKindOfValue) {
  const auto v =
      parse_json(R"( {"s": "a\u00e9\n", "i": -3, "u": 18446744073709551615, "d": 0.1, "l": [true, false, null], "o": {}} )", "x");
  ASSERT_TRUE(v.ok()) << v.status().message();
  EXPECT_EQ(v->at("s").as_string(), "a\xc3\xa9\n");
  EXPECT_EQ(v->at("i").as_int64(), -3);
  EXPECT_EQ(v->at("u").as_uint64(), UINT64_MAX);
  EXPECT_EQ(v->at("l").as_array().size(), 3u);
  EXPECT_TRUE(v->at("l").as_array()[2].is_null());
  EXPECT_TRUE(v->at("o").as_object().empty());
}

TEST(ParseJson, RoundsDoublesCorrectly) {
  for (const auto& [text, wanted] :
       std::initializer_list<std::pair<const char*, double>>{{"1e-06", 1e-06},
                                                             {"0.1", 0.1},
                                                             {"-2.2250738585072014e-308", -2.2250738585072014e-308},
                                                             {"9007199254740993.0", 9007199254740992.0},
                                                             {"1.7976931348623157e308", 1.7976931348623157e308},
                                                             {"0e999", 0.0},
                                                             {"1e-999", 0.0},
                                                             {"123456789.123456789e-7", 123456789.123456789e-7},
                                                             {"3.5844466002796428e+298", 3.5844466002796428e+298},
                                                             {"1000000000000000019884624838656", 1e30}}) {
    const auto v = parse_json(text, "x");
    ASSERT_TRUE(v.ok()) << text << v.status().message();
    EXPECT_EQ(v->as_double(), wanted) << text;
  }
}

TEST(ParseJson, RefusesWhatIsNotStrictJson) {
  const struct {
    std::string text, message;
  } cases[] = {
      {"", "x: not valid JSON: incomplete JSON at byte 0"},
      {"{\"a\": 1,}", "x: not valid JSON: syntax error at byte 8"},
      {"[1] 2", "x: not valid JSON: extra data at byte 4"},
      {"[1, // no\n2]", "x: not valid JSON: syntax error at byte 4"},
      {"[NaN]", "x: not valid JSON: syntax error at byte 1"},
      {"\xef\xbb\xbf{}", "x: not valid JSON: invalid UTF-8 at byte 0"},
      {"[\"\xff\"]", "x: not valid JSON: invalid UTF-8 at byte 2"},
      {"[\"\xc0\xaf\"]", "x: not valid JSON: invalid UTF-8 at byte 2"},      // over-long '/'
      {"[\"\xed\xa0\x80\"]", "x: not valid JSON: invalid UTF-8 at byte 2"},  // a surrogate
      {"[\"\\ud800\"]", "x: not valid JSON: syntax error at byte 8"},
      {"[1e999]", "x: number '1e999' is beyond the range of double (at byte 6)"},
      {"[-1e400]", "x: number '-1e400' is beyond the range of double (at byte 7)"},
      {R"({"a": {"b": 1, "c\n": 2, "c\u000a": 3}})", "x: key 'c\\x0a' comes twice in one object (at byte 33)"},
      {std::string(65, '['), "x: not valid JSON: too deep at byte 64"},
      {std::string(1'000'000, '['), "x: not valid JSON: too deep at byte 64"},
  };
  for (const auto& c : cases) {
    const auto v = parse_json(c.text, "x");
    ASSERT_FALSE(v.ok()) << c.message;
    EXPECT_EQ(v.status().message(), c.message);
    EXPECT_EQ(v.status().code(), Code::kBadFile);
  }
  EXPECT_TRUE(parse_json(std::string(64, '[') + std::string(64, ']'), "x").ok());
  EXPECT_TRUE(parse_json(R"([{"a": 1}, {"a": 2}, {"b": {"a": 3}}])", "x").ok());
}

TEST(ReadSmallFile, ReadsWholeAndRefusesLargeOnesUnread) {
  TempDir dir;
  const std::string path = dir.write("f", "12345");
  EXPECT_EQ(*read_small_file(path, 5), "12345");
  EXPECT_EQ(read_small_file(path, 4).status().message(), path + ": has 5 bytes, wanted at most 4");
  EXPECT_EQ(read_small_file(dir / "none", 4).status().code(), Code::kNotFound);
  std::filesystem::resize_file(path, uint64_t(1) << 40);  // sparse: a read would not end
  EXPECT_EQ(read_small_file(path, 1 << 20).status().message(), path + ": has 1099511627776 bytes, wanted at most 1048576");
}

TEST(ReadSmallFile, SaysWhenAFileEndsBeforeItsSize) {
  const std::string path = "/sys/devices/system/cpu/online";  // the kernel says a page
  std::error_code none;
  if (std::filesystem::file_size(path, none) < 4096 || none) GTEST_SKIP() << "no " << path << " of a page here";
  const Status s = read_small_file(path, 1 << 20).status();
  EXPECT_EQ(s.code(), Code::kIo);
  EXPECT_TRUE(s.message().starts_with(path + ": ended at byte ")) << s.message();
  EXPECT_TRUE(s.message().ends_with(" of " + std::to_string(std::filesystem::file_size(path)))) << s.message();
}

TEST(JsonFields, KeepsTheFirstFailureOnly) {
  const auto v = parse_json(R"({"n": 7, "t": "x", "l": [1, -1], "o": {"k": 2.5}, "z": null})", "f");
  ASSERT_TRUE(v.ok());
  const auto message = [&](auto read) {
    Status status;
    read(JsonFields(v->get_object(), "f", status));
    return status.message();
  };
  EXPECT_EQ(message([](const JsonFields& f) {
              EXPECT_EQ(f.integer("n", 0, 9), 7);
              EXPECT_EQ(f.integer("z", 0, 9, 4), 4);
              EXPECT_EQ(f.integers("z", 0, 9), std::vector<int64_t>());
              EXPECT_EQ(f.object("o").number("k", 0, 3), 2.5);
            }),
            "");
  EXPECT_EQ(message([](const JsonFields& f) {
              f.integer("n", 8, 9);
              f.integer("t", 0, 9);
            }),
            "f: n is 7, wanted an integer from 8 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.integer("t", 0, 9); }), "f: t is 'x', wanted an integer from 0 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.integer("z", 0, 9); }), "f: z is missing, wanted an integer from 0 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.integers("l", 0, 9); }), "f: l is a list with -1, wanted integers from 0 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.object("o").number("k", 3, 4); }), "f: o: k is 2.5, wanted a number from 3 to 4");
  EXPECT_EQ(message([](const JsonFields& f) { f.number("t", 0, 9); }), "f: t is 'x', wanted a number from 0 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.number("l", 0, 9); }), "f: l is a list of 2, wanted a number from 0 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.number("none", 0, 9); }), "f: none is missing, wanted a number from 0 to 9");
  EXPECT_EQ(message([](const JsonFields& f) { f.text("n"); }), "f: n is 7, wanted text");
  EXPECT_EQ(message([](const JsonFields& f) { f.object("n"); }), "f: n is 7, wanted an object");
  EXPECT_EQ(message([](const JsonFields& f) { f.boolean("o", true); }), "f: o is an object, wanted true or false");
  EXPECT_EQ(message([](const JsonFields& f) { f.texts("l"); }), "f: l is a list with 1, wanted a list of texts");
}

TEST(JsonFields, KnowsKinds) {
  const auto v = parse_json(R"({"t": "x", "o": {}, "z": null})", "f");
  Status status;
  const JsonFields f(v->get_object(), "f", status);
  EXPECT_TRUE(f.is_text("t") && f.is_object("o"));
  for (const char* key : {"o", "z", "none"}) EXPECT_FALSE(f.is_text(key)) << key;
  for (const char* key : {"t", "z", "none"}) EXPECT_FALSE(f.is_object(key)) << key;
  EXPECT_TRUE(status.ok());
}

TEST(Quote, ShowsOneLineOfAscii) {
  EXPECT_EQ(quote("a b"), "'a b'");
  EXPECT_EQ(quote(std::string_view("\0\n\xc3\x1b", 4)), "'\\x00\\x0a\\xc3\\x1b'");
  EXPECT_EQ(quote("abcdef", 3), "'abc'...");
}

}  // namespace
}  // namespace sluice
