#include "server/request_fields.h"

#include <gtest/gtest.h>

#include <boost/json/value.hpp>

namespace sluice {
namespace {

namespace json = boost::json;

// The parameter and message of what is wrong with a body; empty: nothing.
std::string body_error(const std::string& body) {
  json::object o;
  const MaybeError e = parse_body(body, o);
  return e ? e->message : "";
}

TEST(Body, TakesObjects) {
  json::object o;
  ASSERT_FALSE(parse_body(R"({"a": [1, -5, 1.5e3, "x,[{\"1"], "b": {"c": null}})", o));
  EXPECT_EQ(o.at("a").at(3), "x,[{\"1");
  EXPECT_EQ(body_error("{}"), "");
  EXPECT_EQ(body_error(R"({"a": 18446744073709551615, "b": -9223372036854775808, "c": 1e308})"), "");
}

TEST(Body, RefusesTheRest) {
  for (const char* body : {"",
                           " ",
                           "[]",
                           "5",
                           "\"x\"",
                           "null",
                           "{",
                           "{}{}",
                           "{\"a\": NaN}",
                           "{\"a\": 1e999}",
                           "{\"a\": Infinity}",
                           "{\"a\": 18446744073709551616}",
                           "{\"a\": -9223372036854775809}",
                           "{\"a\": 1, \"a\": 1}",
                           "{\"a\": \"\xff\"}",
                           "\xef\xbb\xbf{}",
                           "{\"a\": \"\\ud800\"}",
                           "{\"a\": 01}",
                           "{'a': 1}",
                           "{\"a\": 1,}"})
    EXPECT_NE(body_error(body), "") << body;
}

TEST(Body, Limits) {
  const auto nested = [](int depth) { return "{\"a\":" + std::string(depth, '[') + std::string(depth, ']') + "}"; };
  EXPECT_EQ(body_error(nested(63)), "");
  EXPECT_NE(body_error(nested(64)), "");
  EXPECT_NE(body_error(std::string(1'000'000, '[')), "");
  const auto long_list = [](int n) {
    std::string s = "{\"a\":[0";
    for (int i = 1; i < n; ++i) s += ",0";
    return s + "]}";
  };
  EXPECT_EQ(body_error(long_list(199'000)), "");
  EXPECT_NE(body_error(long_list(200'001)), "");
}

class Fields : public ::testing::Test {
 protected:
  json::object o;
  MaybeError error;
  RequestFields fields(const json::value& v) {
    o = v.as_object();
    error.reset();
    return RequestFields(o, error, "at.");
  }
  std::string param() const { return error ? error->param : ""; }
};

TEST_F(Fields, AbsentAndNullAreNotThere) {
  const auto f = fields({{"a", nullptr}});
  EXPECT_FALSE(f.has("a") || f.has("b") || f.boolean("a") || f.integer("b", 0, 1) || f.number("a", 0, 1) || f.string("a", 9));
  EXPECT_FALSE(f.object("a") || f.array("b", 1) || f.token_ids("a", 1, 1) || f.strings("a", 1, 1, true) || error);
}

TEST_F(Fields, WholeNumbers) {
  EXPECT_EQ(fields({{"a", 5}}).integer("a", 5, 5), 5);
  EXPECT_EQ(fields({{"a", 5.0}}).integer("a", 0, 9), 5);
  for (const json::value& bad : {json::value(4), json::value(10), json::value(5.5), json::value("5"), json::value(true),
                                 json::value(uint64_t(1) << 63), json::value(1e300), json::value(json::array())}) {
    EXPECT_FALSE(fields({{"a", bad}}).integer("a", 5, 9)) << bad;
    EXPECT_EQ(param(), "at.a") << bad;
  }
}

TEST_F(Fields, Numbers) {
  EXPECT_EQ(fields({{"a", 1}}).number("a", 0, 1), 1.0);
  EXPECT_EQ(fields({{"a", 0}}).number("a", 0, 1), 0.0);
  EXPECT_FALSE(fields({{"a", 0}}).number("a", 0, 1, true));
  EXPECT_FALSE(fields({{"a", 1.001}}).number("a", 0, 1));
  EXPECT_FALSE(fields({{"a", false}}).number("a", 0, 1));
  EXPECT_EQ(error->message, "at.a: is a boolean, wanted a number from 0 to 1");
}

TEST_F(Fields, Strings) {
  EXPECT_EQ(fields({{"a", "xy"}}).string("a", 2), "xy");
  EXPECT_FALSE(fields({{"a", "xyz"}}).string("a", 2));
  EXPECT_EQ(fields({{"a", "x"}}).choice("a", {"x", "y"}), "x");
  EXPECT_FALSE(fields({{"a", "z"}}).choice("a", {"x", "y"}));
  EXPECT_EQ(error->message, "at.a: is 'z', wanted one of 'x', 'y'");
  using List = std::vector<std::string>;
  EXPECT_EQ(fields({{"a", "x"}}).strings("a", 1, 1, true), List{"x"});
  EXPECT_EQ(fields({{"a", json::array{"x", "y"}}}).strings("a", 2, 1, false), (List{"x", "y"}));
  for (const json::value& bad : {json::value("x"), json::value(json::array{"x", ""}), json::value(json::array{"xx"}),
                                 json::value(json::array{1}), json::value(json::array{"x", "y", "z"})}) {
    EXPECT_FALSE(fields({{"a", bad}}).strings("a", 2, 1, false)) << bad;
    EXPECT_EQ(param(), "at.a");
  }
}

TEST_F(Fields, TokenIds) {
  EXPECT_EQ(fields({{"a", json::array{0, 9}}}).token_ids("a", 10, 2), (std::vector<int32_t>{0, 9}));
  for (const json::value& bad : {json::value(json::array{10}), json::value(json::array{-1}), json::value(json::array{1, 2, 3}),
                                 json::value(json::array{"1"}), json::value(json::array{int64_t(1) << 32}), json::value(1)}) {
    EXPECT_FALSE(fields({{"a", bad}}).token_ids("a", 10, 2)) << bad;
    EXPECT_EQ(param(), "at.a");
  }
}

TEST_F(Fields, TheFirstMistakeCounts) {
  const auto f = fields({{"a", "x"}, {"b", "y"}, {"c", 3}});
  f.integer("a", 0, 9), f.integer("b", 0, 9);
  EXPECT_EQ(param(), "at.a");
  EXPECT_FALSE(f.integer("c", 0, 9));
  f.unsupported("c", "later");
  EXPECT_EQ((std::pair{error->status, param()}), (std::pair{400, std::string("at.a")}));
}

TEST(ApiErrors, FromTheEngine) {
  const auto status = [](Code code) { return api_error(Status(code, "m", "h")).status; };
  EXPECT_EQ(status(Code::kInvalidArgument), 400);
  EXPECT_EQ(status(Code::kNotFound), 404);
  EXPECT_EQ(status(Code::kResourceExhausted), 429);
  EXPECT_EQ(status(Code::kUnsupported), 501);
  EXPECT_EQ(status(Code::kDevice), 503);
  for (const Code c : {Code::kModelError, Code::kIo, Code::kBadFile}) EXPECT_EQ(status(c), 500);
  EXPECT_EQ(api_error(Status(Code::kModelError, "m")).code, "model_error");
}

TEST(ApiErrors, InTheShapeOfTheApi) {
  const HttpResponse r = error_response(api_error(Status(Code::kResourceExhausted, "full", "wait")));
  EXPECT_EQ(r.body, R"({"error":{"message":"full; wait","type":"rate_limit_error","param":null,"code":"too_many_requests"}})");
  ASSERT_EQ(r.headers.size(), 2u);
  EXPECT_EQ(r.headers[1].name + r.headers[1].value, "Retry-After1");
  // The HTTP server adds the header to its own errors.
  EXPECT_EQ(error_response(api_error(HttpError{503, "draining", "/", "id"})).headers.size(), 1u);
  EXPECT_EQ(error_response(bad_field("n", "bad")).body,
            R"({"error":{"message":"bad","type":"invalid_request_error","param":"n","code":null}})");
}

}  // namespace
}  // namespace sluice
