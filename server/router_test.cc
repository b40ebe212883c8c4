// Patterns and precedence, and the bytes of server-sent events.
#include "server/router.h"

#include <gtest/gtest.h>

#include "server/sse.h"

namespace sluice {
namespace {

std::string found(const Router& r, const std::string& method, const std::string& path) {
  const Router::Match m = r.find(method, path);
  if (!m.route) return m.allow.empty() ? "404" : "405 " + m.allow;
  std::string out = m.route->pattern;
  for (const auto& [name, value] : m.params) out += " " + name + "=" + value;
  return out;
}

TEST(Router, FixedPartsWinOverParameters) {
  const Handler h = [](HttpRequest, Responder) {};
  Router r;
  r.add("GET", "/v1/{rest...}", h);
  r.add("GET", "/v1/models/{id}", h);
  r.add("GET", "/v1/models/all", h);
  r.add("POST", "/v1/models/{id}", h);
  r.add("GET", "/", h);
  ASSERT_TRUE(r.status().ok());
  EXPECT_EQ(found(r, "GET", "/v1/models/all"), "/v1/models/all");
  EXPECT_EQ(found(r, "GET", "/v1/models/q%2Fx"), "/v1/models/{id} id=q/x");
  EXPECT_EQ(found(r, "GET", "/v1/models/a/b"), "/v1/{rest...} rest=models/a/b");
  EXPECT_EQ(found(r, "GET", "/v1/models/"), "/v1/{rest...} rest=models/");
  EXPECT_EQ(found(r, "POST", "/v1/models/all"), "405 GET, HEAD, OPTIONS");  // it is what its own pattern says
  EXPECT_EQ(found(r, "POST", "/v1/models/some"), "/v1/models/{id} id=some");
  EXPECT_EQ(found(r, "GET", "/"), "/");
  EXPECT_EQ(found(r, "HEAD", "/"), "/");
  EXPECT_EQ(found(r, "GET", "/v1/"), "404");
  EXPECT_EQ(found(r, "GET", "/v1"), "404");
  EXPECT_EQ(found(r, "GET", "/v2"), "404");
  EXPECT_EQ(found(r, "PUT", "/v1/models/some"), "405 GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(found(r, "get", "/"), "405 GET, HEAD, OPTIONS");  // methods have a case
}

TEST(Router, RefusesBadPatterns) {
  const Handler h = [](HttpRequest, Responder) {};
  for (const std::string bad : {"", "a", "/a{b}", "/{", "/{}", "/{a...}/b", "/a/{b}c"}) {
    Router r;
    r.add("GET", bad, h);
    EXPECT_FALSE(r.status().ok()) << bad;
    EXPECT_TRUE(r.routes().empty()) << bad;
  }
  Router r;
  r.add("GET", "/a", {});
  EXPECT_NE(r.status().message().find("no handler"), std::string::npos);
}

TEST(Router, ErrorsAreWrittenAsTheLongestPathAboveSays) {
  const auto formatter = [](int status) { return [status](const HttpError&) { return HttpResponse{status, {}, {}}; }; };
  Router r;
  r.add_errors("/v1/a", formatter(1));
  r.add_errors("/v1/a/b", formatter(2));
  r.add_errors("/v1/a", formatter(3));  // the first stays
  const auto at = [&](const char* path) { return r.errors_at(path) ? (*r.errors_at(path))({}).status : 0; };
  EXPECT_EQ(at("/v1/a"), 1);
  EXPECT_EQ(at("/v1/a/"), 1);
  EXPECT_EQ(at("/v1/a/x/y"), 1);
  EXPECT_EQ(at("/v1/a/b"), 2);
  EXPECT_EQ(at("/v1/a/b/c"), 2);
  for (const char* path : {"", "/", "/v1", "/v1/ab", "/v1/b/a"}) EXPECT_EQ(at(path), 0) << path;
}

// What a client reads: the data of each event, lines joined by \n; as the WHATWG's rules say.
std::vector<std::string> read_events(const std::string& stream) {
  std::vector<std::string> events;
  std::string data, line;
  bool has_data = false;
  for (const char c : stream) {
    if (c != '\n') {
      line += c;
      continue;
    }
    if (line.empty() && has_data) events.push_back(data);
    if (line.empty()) data.clear(), has_data = false;
    if (line.rfind("data: ", 0) == 0) {
      data += (has_data ? "\n" : "") + line.substr(6);
      has_data = true;
    }
    line.clear();
  }
  return events;
}

TEST(Sse, EventsAreReadAsTheyWereWritten) {
  EXPECT_EQ(sse_event("[DONE]"), "data: [DONE]\n\n");
  EXPECT_EQ(sse_event("{}", "message_start"), "event: message_start\ndata: {}\n\n");
  EXPECT_EQ(sse_event("{}", "a\r\ndata: x"), "event: adata: x\ndata: {}\n\n");
  EXPECT_EQ(sse_comment("keep-alive"), ": keep-alive\n\n");
  EXPECT_EQ(sse_comment("a\ndata: b"), ": a\n: data: b\n\n");
  const std::string stream = sse_event("") + sse_event("a\nb") + sse_comment("c\n\nd") + sse_event("\r\ne\r\r\nf\n", "n");
  EXPECT_EQ(read_events(stream), (std::vector<std::string>{"", "a\nb", "\ne\n\nf\n"}));
}

TEST(Message, DecodesQueriesAndNames) {
  HttpRequest q;
  q.query = "a=1&b&c=%zz%4&%61=2&d=x=y";
  q.headers = {{"X-One", "1"}, {"x-one", "2"}};
  EXPECT_EQ(q.query_value("a"), "1");
  EXPECT_EQ(q.query_value("b"), "");
  EXPECT_EQ(q.query_value("c"), "%zz%4");
  EXPECT_EQ(q.query_value("d"), "x=y");
  EXPECT_EQ(q.query_value("e"), "");
  EXPECT_EQ(q.header("x-ONE"), "1");
  EXPECT_EQ(q.header("x-on"), "");
}

}  // namespace
}  // namespace sluice
