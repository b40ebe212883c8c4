// The server as a well-behaved client sees it: routing, keys, identities, framing of answers, start and end.
#include "server/http.h"

#include <dirent.h>

#include <set>

#include "server/server_state.h"
#include "server/test_server.h"

namespace sluice {
namespace {

using testing::eventually;
using testing::RawClient;
using testing::TestServer;

int entries_of(const char* folder) {
  int n = 0;
  DIR* const d = ::opendir(folder);
  while (d && ::readdir(d)) ++n;
  if (d) ::closedir(d);
  return n;
}

TEST(Http, AnswersOnAPortItReports) {
  TestServer s;
  ASSERT_GT(s.port(), 0);
  EXPECT_EQ(s->address(), "127.0.0.1:" + std::to_string(s.port()));
  RawClient c(s.port());
  const auto r = c.get("/echo/a%20b?x=1&q=c%2Bd+e");
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.body.substr(0, 10), "a b|c+d e|");
  EXPECT_EQ(r.header("Content-Length"), std::to_string(r.body.size()));
  EXPECT_EQ(r.header("Date").size(), std::string("Sun, 06 Nov 1994 08:49:37 GMT").size());
}

TEST(Http, KeepsAConnectionForFurtherRequests) {
  TestServer s;
  RawClient c(s.port());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(c.post("/body", std::string(size_t(i) * 30000, 'x')).body.size(), size_t(i) * 30000);
  EXPECT_EQ(s.counters().connections_total, 1);
  EXPECT_EQ(c.get("/health", "Connection: close\r\n").header("Connection"), "close");
  EXPECT_TRUE(c.closed_within(1000));
  EXPECT_TRUE(eventually([&] { return s.counters().connections_open == 0; }));
}

TEST(Http, Http10ClosesUnlessAskedToStay) {
  TestServer s;
  RawClient c(s.port());
  EXPECT_EQ(c.ask("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").header("Connection"), "keep-alive");
  const auto r = c.ask("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_EQ(r.body, "ok");
  EXPECT_EQ(r.head.substr(0, 13), "HTTP/1.0 200 ");
  EXPECT_TRUE(c.closed_within(1000));
}

TEST(Http, HeadHasTheHeadersOfGetAndNoBody) {
  TestServer s;
  RawClient c(s.port());
  const auto r = c.ask("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(r.header("Content-Length"), "2");
  EXPECT_EQ(c.get("/health").body, "ok");  // no body came between
  EXPECT_EQ(c.ask("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n").status, 404);
  EXPECT_EQ(c.get("/health").body, "ok");
}

TEST(Http, HeadOfAStreamEndsIt) {
  TestServer s;
  RawClient c(s.port());
  c.send("HEAD /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  const Responder a = s.waiting();
  a.begin_sse();
  EXPECT_EQ(a.write(sse_event("x")), WriteResult::kGone);
  EXPECT_EQ(s.cancels, 1);
  EXPECT_EQ(c.response(5000, true).status, 200);
  EXPECT_EQ(c.get("/health").body, "ok");
}

TEST(Http, ErrorsGoThroughTheFormatter) {
  TestServer s([](HttpOptions& o) {
    o.error_formatter = [](const HttpError& e) {
      return HttpResponse{200,
                          {{"Content-Type", "application/json"}},
                          "{\"error\":\"" + e.message + "\",\"path\":\"" + e.path + "\",\"id\":\"" + e.request_id + "\"}"};
    };
  });
  RawClient c(s.port());
  auto r = c.get("/nothing", "X-Request-Id: abc\r\n");
  EXPECT_EQ(r.status, 404);  // the status is not the formatter's to change
  EXPECT_EQ(r.body, "{\"error\":\"there is no route /nothing\",\"path\":\"/nothing\",\"id\":\"abc\"}");
  r = c.post("/health", "");
  EXPECT_EQ(r.status, 405);
  EXPECT_EQ(r.header("Allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(c.get("/health").status, 200);  // the connection stays where the request was read to its end
  r = c.ask("OPTIONS /body HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(r.status, 204);
  EXPECT_EQ(r.header("Allow"), "POST, OPTIONS");
  EXPECT_EQ(c.ask("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").status, 204);
}

TEST(Http, RequestIdIsKeptOrMade) {
  TestServer s;
  RawClient c(s.port());
  EXPECT_EQ(c.get("/health", "X-Request-Id: a-B_9.:\r\n").header("X-Request-Id"), "a-B_9.:");
  std::vector<std::string> made;
  for (const std::string odd : {"", "X-Request-Id: a b\r\n", "X-Request-Id: <x>\r\n"})
    made.push_back(c.get("/health", odd).header("X-Request-Id"));
  made.push_back(c.get("/health", "X-Request-Id: " + std::string(129, 'a') + "\r\n").header("X-Request-Id"));
  for (const std::string& id : made) EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos) << id;
  for (size_t i = 1; i < made.size(); ++i) EXPECT_NE(made[i], made[i - 1]);
  const auto r = c.get("/echo/w");
  EXPECT_EQ(r.body, "w||" + r.header("X-Request-Id"));  // the handler's is the client's
}

TEST(Http, EveryRouteButTheProbesNeedsAKey) {
  Router names;
  TestServer s([](HttpOptions& o) { o.api_keys = {"first-key", "second"}; }, [&](Router& r) { names = r; });
  RawClient c(s.port());
  int closed_routes = 0;
  for (const Route& route : names.routes()) {
    const bool probe = route.pattern == "/health" || route.pattern == "/ready";
    const auto r = c.ask(route.method + " " + route.pattern + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(r.status, probe ? 200 : 401) << route.pattern;
    closed_routes += r.status == 401;
  }
  EXPECT_EQ(closed_routes, int(names.routes().size()) - 2);
  EXPECT_EQ(s.counters().count(Rejected::kKey), closed_routes);
  EXPECT_EQ(c.get("/nothing").status, 401);  // what exists is nobody's business
  EXPECT_EQ(c.get("/nothing").header("WWW-Authenticate"), "Bearer");
}

TEST(Http, KeysAreTakenFromTwoHeadersOnly) {
  TestServer s([](HttpOptions& o) { o.api_keys = {"first-key", "second"}; });
  RawClient c(s.port());
  const auto status = [&](const std::string& headers, const std::string& path = "/echo/x") { return c.get(path, headers).status; };
  EXPECT_EQ(status("Authorization: Bearer first-key\r\n"), 200);
  EXPECT_EQ(status("authorization: bEARER   second\r\n"), 200);
  EXPECT_EQ(status("x-api-key: second\r\n"), 200);
  EXPECT_EQ(status("Authorization: Bearer wrong\r\nX-Api-Key: second\r\n"), 200);
  EXPECT_EQ(status("Authorization: Bearer first-ke\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer first-keyf\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer first-keyfirst-key\r\n"), 401);
  EXPECT_EQ(status("Authorization: first-key\r\n"), 401);
  EXPECT_EQ(status("Authorization: Basic first-key\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer \r\n"), 401);
  EXPECT_EQ(status("X-Api-Key: \r\n"), 401);
  EXPECT_EQ(status("X-Api-Key: first-key\r\nX-Api-Key: second\r\n"), 401);
  EXPECT_EQ(status("", "/echo/x?api_key=first-key"), 401);
}

TEST(Http, OnALoopbackAddressOnlyItsNamesAreServed) {
  const auto status = [](TestServer& s, const std::string& host, const std::string& path = "/echo/x") {
    RawClient c(s.port());
    return c.ask("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  TestServer s([](HttpOptions& o) { o.allowed_hosts = {"llm.example.com"}, o.api_keys = {"key"}; });
  const std::string port = ":" + std::to_string(s.port());
  for (const std::string& good : {"localhost" + port, "127.0.0.1" + port, "[::1]" + port, std::string("LLM.example.com")})
    EXPECT_EQ(status(s, good), 401) << good;  // it is asked for the key then
  EXPECT_EQ(status(s, "evil.example" + port), 403);
  EXPECT_EQ(status(s, "evil.example", "/nothing"), 403);
  EXPECT_EQ(status(s, "evil.example", "/health"), 200);  // probes call by any name
  EXPECT_EQ(s.counters().count(Rejected::kHost), 2);
  TestServer unnamed([](HttpOptions& o) { o.allowed_hosts.emplace(); });
  EXPECT_EQ(status(unnamed, "evil.example"), 403);
  EXPECT_EQ(status(unnamed, "localhost"), 200);
  RawClient old(unnamed.port());
  EXPECT_EQ(old.ask("GET /echo/x HTTP/1.0\r\n\r\n").status, 200);
  TestServer any([](HttpOptions& o) { o.allowed_hosts = {"*"}; });
  EXPECT_EQ(status(any, "evil.example"), 200);
  TestServer open([](HttpOptions& o) { o.host = "0.0.0.0", o.allowed_hosts.emplace(); });
  EXPECT_EQ(status(open, "evil.example"), 200);
  TestServer open_by_name([](HttpOptions& o) { o.host = "0.0.0.0", o.allowed_hosts = {"llm.example.com"}; });
  EXPECT_EQ(status(open_by_name, "evil.example"), 403);
  EXPECT_EQ(status(open_by_name, "llm.example.com"), 200);
}

TEST(Http, AHandlerCannotForgeHeaders) {
  TestServer s({}, [](Router& r) {
    r.add("GET", "/forge", [](HttpRequest, Responder a) {
      a.respond(200, {{"X-A", "1\r\nX-Evil: 2"}, {"Content-Length", "99"}, {"Connection", "upgrade"}}, "body");
    });
  });
  RawClient c(s.port());
  const auto r = c.get("/forge");
  EXPECT_EQ(r.header("X-Evil"), "");
  EXPECT_EQ(r.header("X-A"), "1  X-Evil: 2");
  EXPECT_EQ(r.header("Content-Length"), "4");
  EXPECT_EQ(r.header("Connection"), "");
}

TEST(Http, ARequestWithoutAnAnswerGets500) {
  TestServer s;
  RawClient c(s.port());
  EXPECT_EQ(c.get("/throw").status, 500);
  EXPECT_EQ(c.get("/forget").status, 500);
  EXPECT_EQ(c.get("/health").status, 200);
}

TEST(Http, OnlyTheFirstAnswerCounts) {
  TestServer s;
  RawClient c(s.port());
  c.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
  const Responder a = s.waiting();
  a.respond(200, {}, "one");
  a.respond(200, {}, "two");
  a.begin_sse();
  EXPECT_EQ(a.write("three"), WriteResult::kGone);
  a.finish();
  EXPECT_EQ(c.response().body, "one");
  EXPECT_EQ(c.get("/health").body, "ok");
}

TEST(Http, LogsAndCountsRequests) {
  TestServer s;
  RawClient c(s.port());
  c.get("/echo/x?api_key=secret", "X-Request-Id: id-1\r\n");
  c.get("/nothing");
  c.ask("GET /a b HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return s.log().size() == 3; }));
  const auto log = s.log();
  EXPECT_EQ(log[0].method + " " + log[0].path + " " + log[0].request_id + " " + log[0].peer, "GET /echo/x id-1 127.0.0.1");
  EXPECT_EQ(log[0].status, 200);
  EXPECT_GT(log[0].bytes_out, 50);
  EXPECT_GT(log[0].seconds, 0);
  EXPECT_LT(log[0].seconds, 5);
  EXPECT_EQ(log[1].status, 404);
  EXPECT_EQ(log[2].status, 400);
  EXPECT_EQ(log[2].path, "");
  EXPECT_EQ(s.counters().responses[2], 1);
  EXPECT_EQ(s.counters().responses[4], 2);
  EXPECT_EQ(s.counters().count(Rejected::kNotFound), 1);
  EXPECT_GT(s.counters().bytes_in, 100);
  EXPECT_EQ(s.counters().bytes_out, log[0].bytes_out + log[1].bytes_out + log[2].bytes_out);
  EXPECT_TRUE(eventually([&] { return s.counters().requests_running == 0; }));
}

TEST(Http, StartRefusesWhatCannotWork) {
  TestServer first;
  const auto message = [](const std::function<void(HttpOptions&)>& change, Router router = {}) {
    HttpOptions o;
    o.port = 0;
    change(o);
    auto r = HttpServer::start(std::move(o), std::move(router));
    return r.ok() ? std::string("started") : r.status().to_string();
  };
  EXPECT_NE(message([&](HttpOptions& o) { o.port = uint16_t(first.port()); }).find("in use"), std::string::npos);
  EXPECT_NE(message([](HttpOptions& o) { o.host = "203.0.113.7"; }).find("cannot listen on 203.0.113.7:0"), std::string::npos);
  EXPECT_NE(message([](HttpOptions& o) { o.limits.io_threads = 0; }).find("--http-threads is 0 threads"), std::string::npos);
  EXPECT_NE(message([](HttpOptions& o) { o.api_keys = {""}; }).find("key is empty"), std::string::npos);
  EXPECT_NE(message([](HttpOptions& o) { o.allowed_hosts = {"http://a"}; }).find("--allowed-host 'http://a'"), std::string::npos);
  Router twice;
  for (int i = 0; i < 2; ++i) twice.add("GET", "/a", [](HttpRequest, Responder) {});
  EXPECT_NE(message([](HttpOptions&) {}, twice).find("route GET /a exists"), std::string::npos);
  EXPECT_EQ(message([](HttpOptions&) {}), "started");
}

TEST(Http, EveryLimitIsListedAndExplained) {
  const HttpLimits limits;
  std::set<std::string> flags;
  each_limit(limits, [&](const HttpLimit& l) {
    flags.insert(l.flag);
    EXPECT_GT(std::string(l.reason).size(), 10u) << l.flag;
    EXPECT_GT(std::string(l.unit).size(), 0u) << l.flag;
    EXPECT_TRUE(l >= 1 && l <= l.max) << l.flag;
  });
  EXPECT_EQ(flags.size() * sizeof(HttpLimit), sizeof(HttpLimits));
}

TEST(Http, OnePeerDoesNotTakeAllConnections) {
  HttpOptions o;
  o.limits.max_connections = 10;
  o.limits.max_connections_per_peer = 3;
  ServerState state(o, {});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(state.admit("peer"), Rejected::kCount);
  EXPECT_EQ(state.admit("peer"), Rejected::kPeerConnections);
  EXPECT_EQ(state.admit("other"), Rejected::kCount);
  state.leave("peer", true);
  EXPECT_EQ(state.admit("peer"), Rejected::kCount);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(state.admit(""), Rejected::kCount);  // loopback
  EXPECT_EQ(state.admit(""), Rejected::kConnections);
}

TEST(Http, ListensOnIpv6) {
  HttpOptions o;
  o.host = "::1";
  o.port = 0;
  auto r = HttpServer::start(o, {});
  if (!r.ok()) GTEST_SKIP() << "no IPv6 here: " << r.status().to_string();
  EXPECT_EQ((*r)->address().substr(0, 6), "[::1]:");
  o.host = "::";
  auto both = HttpServer::start(o, {});
  ASSERT_TRUE(both.ok());
  RawClient by_ipv4((*both)->port());
  EXPECT_EQ(by_ipv4.get("/x").status, 404);
}

TEST(Http, LeavesNoThreadsOrDescriptors) {
  { TestServer warm_up; }
  const int threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd");
  for (int i = 0; i < 10; ++i) {
    TestServer s([](HttpOptions& o) { o.limits.io_threads = 3; });
    RawClient idle(s.port()), half(s.port()), waits(s.port());
    half.send("GET /hea");
    waits.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    const Responder a = s.waiting();
    a.begin_sse();
    EXPECT_GT(entries_of("/proc/self/task"), threads);
    s.stop();
    EXPECT_EQ(a.write("x"), WriteResult::kGone);
    EXPECT_EQ(s.last_cancel, CancelReason::kShutdown);
    EXPECT_EQ(s.counters().connections_open, 0);
    EXPECT_EQ(s.counters().requests_running, 0);
  }
  EXPECT_EQ(entries_of("/proc/self/fd"), descriptors);
  EXPECT_TRUE(eventually([&] { return entries_of("/proc/self/task") == threads; }));
}

}  // namespace
}  // namespace sluice
