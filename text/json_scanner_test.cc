// JSON in pieces: what comes out is one valid value, whatever comes in and wherever it stops.
#include "text/json_scanner.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>

namespace sluice {
namespace {

struct Scanned {
  std::string out;
  size_t taken = 0;
  JsonScanner::State state = JsonScanner::State::kReading;
  bool operator==(const Scanned&) const = default;
};

Scanned scan(std::string_view text, size_t piece) {
  JsonScanner scanner;
  Scanned result;
  for (size_t at = 0; at < text.size() && scanner.state() == JsonScanner::State::kReading; at += piece)
    result.taken += scanner.feed(text.substr(at, piece), result.out);
  result.state = scanner.state();
  scanner.close(result.out);
  return result;
}

bool valid(const std::string& text) {
  boost::json::error_code ec;
  boost::json::parse_options options;
  options.max_depth = 100;
  boost::json::parse(text, ec, {}, options);
  return !ec;
}

void expect_scanned(const std::string& text, const std::string& out, size_t left, JsonScanner::State state) {
  const Scanned whole = scan(text, text.size());
  EXPECT_EQ(whole.out, out) << text;
  EXPECT_EQ(text.size() - whole.taken, left) << text;
  EXPECT_EQ(whole.state, state) << text;
  EXPECT_TRUE(valid(whole.out)) << whole.out;
  for (size_t piece = 1; piece < text.size(); ++piece) EXPECT_EQ(scan(text, piece), whole) << text << " in pieces of " << piece;
}

TEST(JsonScanner, Values) {
  const auto done = [](const std::string& text, const std::string& out, size_t left = 0) {
    expect_scanned(text, out, left, JsonScanner::State::kDone);
  };
  done("{}", "{}");
  done(" [ ]x", "[]", 1);
  done("{\"a\":1,\"b\" : [true,false , null]}}", "{\"a\": 1, \"b\": [true, false, null]}", 1);
  done("0,", "0", 1);
  done("01", "0", 1);
  done("-12.50E+03]", "-12.50E+03", 1);
  done("1e5 ", "1e5", 1);
  done("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9 é\"\"", "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9 é\"", 1);
  done("\"\\ud83d\\ude42\"", "\"\\ud83d\\ude42\"");
  done("[1,]", "[1]");
  done("{\"a\":1,}", "{\"a\": 1}");
  done("\"\\x\\u1g\\u123\"", "\"\\\\x\\\\u1g\\\\u123\"");
  done("\"\\ud83dx\\ude42\\ud83d\\n\\ud83d\\ud83d\\ude42\\ud83d\\u0041\\ud83d\\q\\ud83d\"",
       "\"\\ufffdx\\ufffd\\ufffd\\n\\ufffd\\ud83d\\ude42\\ufffd\\u0041\\ufffd\\\\q\\ufffd\"");
  done("\"a\nb\x01\"", "\"a\\nb\\u0001\"");
}

TEST(JsonScanner, Broken) {
  const auto broken = [](const std::string& text, const std::string& out, size_t left) {
    expect_scanned(text, out, left, JsonScanner::State::kBroken);
  };
  broken("x", "null", 1);
  broken("{a", "{}", 1);
  broken("{1", "{}", 1);
  broken("{\"a\" 1", "{\"a\": null}", 1);
  broken("{\"a\": }", "{\"a\": null}", 1);
  broken("{\"a\": 1]", "{\"a\": 1}", 1);
  broken("[1}", "[1]", 1);
  broken("[1 2", "[1]", 1);
  broken("[,", "[]", 1);
  broken("[1,,", "[1]", 1);
  broken("{,", "{}", 1);
  broken("[tru]", "[true]", 1);
  broken("[-]", "[-0]", 1);
  broken("[1.]", "[1.0]", 1);
  broken("[1e+]", "[1e+0]", 1);
  broken("[+", "[]", 1);
  broken("[.", "[]", 1);
  broken("{\"a\": 'b'", "{\"a\": null}", 3);
  broken(std::string(65, '['), std::string(64, '[') + std::string(64, ']'), 1);
}

TEST(JsonScanner, CutOff) {
  const std::string text = R"({"a": ["x\u00e9\ud83d\ude42\q", -1.5e-3, {"b": true}], "c": {}})";
  for (size_t n = 0; n < text.size(); ++n) {
    const Scanned whole = scan(text.substr(0, n), text.size());
    EXPECT_EQ(whole.state, JsonScanner::State::kReading);
    EXPECT_TRUE(valid(whole.out)) << whole.out;
  }
}

TEST(JsonScanner, RandomText) {
  std::mt19937 random(1);
  const std::vector<std::string> pieces = {"{",    "}",    "[", "]",  ",", ":",    "\"",      "\"k\": ", "\"k\":[",
                                           "1",    "-",    ".", "e",  "0", "true", "n",       "\\",      "\\u",
                                           "d83d", "de42", " ", "\n", "é", "x",    "\\ud83d", "\\ude42"};
  for (int i = 0; i < 20000; ++i) {
    std::string text = random() % 2 ? "{\"k\": " : "[";
    for (unsigned n = random() % 20; n > 0; --n) text += pieces[random() % pieces.size()];
    const Scanned whole = scan(text, text.size());
    ASSERT_TRUE(valid(whole.out)) << text << "\n" << whole.out;
    ASSERT_EQ(scan(text, 1), whole) << text;
    ASSERT_EQ(scan(text, 1 + random() % 7), whole) << text;
    // What was not repaired says the same.
    boost::json::error_code ec;
    const boost::json::value wanted = boost::json::parse(text, ec);
    if (!ec) {
      ASSERT_EQ(boost::json::parse(whole.out), wanted) << text;
    }
  }
}

}  // namespace
}  // namespace sluice
