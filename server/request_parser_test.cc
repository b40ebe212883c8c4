// What is a request and what is not, without sockets: any split of the bytes gives the same.
#include "server/request_parser.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

struct Parsed {
  int status = 0;  // of the error; 0: done; -1: wants more
  std::string method, path, query, body;
  Headers headers;
  size_t used = 0;
};

// Feeds `bytes`, of which `step` more arrive each time.
Parsed parse(const std::string& bytes, size_t step, const HttpLimits& limits = {}) {
  RequestParser p(limits);
  size_t used = 0;
  using State = RequestParser::State;
  for (size_t arrived = 0; arrived < bytes.size() && p.state() != State::kDone && p.state() != State::kFailed;) {
    arrived = std::min(arrived + step, bytes.size());
    for (size_t n = 1; n > 0;) used += n = p.feed(std::string_view(bytes).substr(used, arrived - used));
  }
  Parsed out;
  out.status = p.state() == State::kDone ? 0 : p.state() == State::kFailed ? p.error_status() : -1;
  if (out.status == 0) p.take_body();
  EXPECT_EQ(out.status > 0, !p.error().empty());
  out.method = p.request().method;
  out.path = p.request().path;
  out.query = p.request().query;
  out.body = p.request().body;
  out.headers = p.request().headers;
  out.used = used;
  return out;
}

int status_of(const std::string& bytes, const HttpLimits& limits = {}) {
  const Parsed whole = parse(bytes, bytes.size(), limits);
  for (const size_t step : {1, 2, 3, 7})
    EXPECT_EQ(parse(bytes, step, limits).status, whole.status) << step << ": " << bytes.substr(0, 200);
  return whole.status;
}

std::string with(const std::string& headers, const std::string& body = {}) {
  return "POST /p HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body;
}

TEST(RequestParser, ReadsRequestsWhateverTheSplit) {
  const std::string bytes = "\r\nPOST /a/b?c=d HTTP/1.1\r\nHost: x\r\nX-A:  1 \r\nContent-Length: 5\r\n\r\nhelloGET";
  for (size_t step = 1; step < bytes.size(); ++step) {
    const Parsed p = parse(bytes, step);
    ASSERT_EQ(p.status, 0) << step;
    EXPECT_EQ(p.method + " " + p.path + " " + p.query + " " + p.body, "POST /a/b c=d hello");
    EXPECT_EQ(p.used, bytes.size() - 3) << step;
    ASSERT_EQ(p.headers.size(), 3u);
    EXPECT_EQ(p.headers[1].name + "=" + p.headers[1].value, "X-A=1");
  }
}

TEST(RequestParser, ReadsChunksWhateverTheSplit) {
  const std::string bytes =
      with("Transfer-Encoding: Chunked\r\n", "3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\nGET");
  for (size_t step = 1; step < bytes.size(); ++step) {
    const Parsed p = parse(bytes, step);
    ASSERT_EQ(p.status, 0) << step;
    EXPECT_EQ(p.body, "abc0123456789");
    EXPECT_EQ(p.used, bytes.size() - 3) << step;
    EXPECT_EQ(p.headers.size(), 2u);  // trailers are no headers
  }
}

TEST(RequestParser, TakesTheFormsOfATarget) {
  EXPECT_EQ(parse("GET http://h:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n", 999).path, "/p");
  EXPECT_EQ(parse("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", 999).path, "/");
  EXPECT_EQ(parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 999).path, "*");
  EXPECT_EQ(status_of("GET * HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(status_of("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
}

// Each of these has been used to make two servers see two different requests.
TEST(RequestParser, RefusesAmbiguousFraming) {
  const std::string chunks = "5\r\nhello\r\n0\r\n\r\n";
  EXPECT_EQ(status_of(with("Content-Length: 5\r\n", "hello")), 0);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", chunks)), 0);
  for (const std::string bad : {
           "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
           "Content-Length: 5\r\nContent-Length: 5\r\n",
           "Content-Length: 5\r\nContent-Length: 15\r\n",
           "Content-Length: 5, 5\r\n",
           "Content-Length: -1\r\n",
           "Content-Length: +5\r\n",
           "Content-Length: 0x5\r\n",
           "Content-Length: 5 5\r\n",
           "Content-Length:\r\n",
           "Content-Length: 99999999999999999999999\r\n",
           "Content-Length : 5\r\n",
           "Transfer-Encoding: gzip\r\n",
           "Transfer-Encoding: gzip, chunked\r\n",
           "Transfer-Encoding: chunked, chunked\r\n",
           "Transfer-Encoding: chunked, gzip\r\n",
           "Transfer-Encoding: xchunked\r\n",
           "Transfer-Encoding: \"chunked\"\r\n",
           "Transfer-Encoding:\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
           "X: 1\r\n folded\r\n",
           "X: 1\r\n\tfolded\r\n",
           " X: 1\r\n",
           "Transfer-Encoding:\r\n chunked\r\n",
           "X: a\nY: b\r\n",
           "X: a\rY: b\r\n",
           "X y: 1\r\n",
           ": 1\r\n",
           "X\r\n",
           "X: \x01\r\n",
           "Host: y\r\n",
       }) {
    EXPECT_EQ(status_of(with(bad, chunks)), 400) << bad;
  }
  EXPECT_EQ(status_of(with(std::string("X: a\0b\r\n", 8))), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);  // no Host
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\n\r\n"), 0);
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks), 400);
  EXPECT_EQ(status_of(with("Expect: 200-ok\r\n")), 417);
}

TEST(RequestParser, RefusesBadChunks) {
  const auto chunked = [](const std::string& body) { return status_of(with("Transfer-Encoding: chunked\r\n", body)); };
  for (const std::string bad :
       {"g\r\nhello", "-1\r\nhello", " 5\r\nhello\r\n", "\r\nhello", "5 \r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n", "5;\x01\r\nhello\r\n0\r\n\r\n", "0\r\nX y: 1\r\n\r\n"}) {
    EXPECT_EQ(chunked(bad), 400) << bad;
  }
  EXPECT_EQ(chunked("5;a;b = \"x \\\" y\";c=\t\r\nhello\r\n0;d\r\nX-Y: \xff\r\nZ:\r\n\r\n"), 0);
  // A quoted text does not go over a line's end, where others would take what follows for a chunk.
  for (const std::string bad : {"5;a=\"\r\nhello\"\r\n0\r\n\r\n", "5;a=\"\\\"\r\nhello\r\n0\r\n\r\n", "0;a=\"\r\n\r\n",
                                "5\nhello\r\n0\r\n\r\n", "5\rhello", "5\r\nhello\n0\r\n\r\n", "5\r\nhello\r0\r\n\r\n", "0\r\n\n",
                                "0\r\nX\r\n\r\n", "0\r\n X: 1\r\n\r\n", "0\r\nX: \x01\r\n\r\n", "0\r\nX: 1\n\r\n", ";\r\n"}) {
    EXPECT_EQ(chunked(bad), 400) << bad;
  }
  EXPECT_EQ(chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), 400);
  EXPECT_EQ(chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"), 0);
  EXPECT_EQ(chunked("ffffffffffffffff\r\nhello"), 413);
  EXPECT_EQ(chunked("5;" + std::string(20000, 'x')), 400);
  EXPECT_EQ(chunked("0\r\nX: " + std::string(20000, 'x')), 400);
}

TEST(RequestParser, RefusesWhatIsNotHttp) {
  for (const std::string bad :
       {"\x16\x03\x01\x02\x00\x01\x00", "hello\r\n\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n", "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: x\n\n"}) {
    EXPECT_EQ(status_of(bad), 400) << bad;
  }
  for (const std::string version : {"2.0", "1.2", "0.9", "9.9"})
    EXPECT_EQ(status_of("GET / HTTP/" + version + "\r\nHost: x\r\n\r\n"), 505);
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
}

TEST(RequestParser, HoldsItsLimitsToTheByte) {
  HttpLimits l;
  l.max_header_bytes = 400;
  l.max_header_fields = 5;
  l.max_target_bytes = 100;
  l.max_body_bytes = 10;
  const auto fields = [](int n) {
    std::string s;
    for (int i = 1; i < n; ++i) s += "A: b\r\n";  // and Host
    return with(s);
  };
  EXPECT_EQ(status_of(fields(5), l), 0);
  EXPECT_EQ(status_of(fields(6), l), 431);
  const size_t rest = with("X: \r\n").size();
  EXPECT_EQ(status_of(with("X: " + std::string(400 - rest, 'a') + "\r\n"), l), 0);
  EXPECT_EQ(status_of(with("X: " + std::string(401 - rest, 'a') + "\r\n"), l), 431);
  EXPECT_EQ(status_of(with("X: " + std::string(5000, 'a')), l), 431);  // without waiting for the end
  const auto target = [](size_t n) { return "GET /" + std::string(n - 1, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n"; };
  EXPECT_EQ(status_of(target(100), l), 0);
  EXPECT_EQ(status_of(target(101), l), 414);
  EXPECT_EQ(status_of("GET /" + std::string(5000, 'a'), l), 414);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"), l), 0);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n6\r\n"), l), 413);
  // However it arrives: all at once it is as long as in pieces.
  const auto extension = [](size_t n) { return "5;" + std::string(n - 4, 'x') + "\r\nhello\r\n0\r\n\r\n"; };
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", extension(400)), l), 0);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", extension(401)), l), 400);
  const auto trailer = [](size_t n) { return "0\r\nX:" + std::string(n - 9, 'x') + "\r\n\r\n"; };
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", trailer(400)), l), 0);
  EXPECT_EQ(status_of(with("Transfer-Encoding: chunked\r\n", trailer(401)), l), 400);
  EXPECT_EQ(status_of(with("Content-Length: 10\r\n", "0123456789"), l), 0);
  EXPECT_EQ(status_of(with("Content-Length: 11\r\n", "0"), l), 413);
}

}  // namespace
}  // namespace sluice
