#include "bench_client/http_client.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <functional>
#include <optional>

#include "base/clock.h"
#include "bench_client/answer_reader.h"

namespace sluice::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr size_t kReadBytes = 16384;
constexpr size_t kMaxErrorBody = 65536;

// What an error body says: the message of OpenAI's shape, or its start.
std::string message_of(const std::string& body) {
  namespace json = boost::json;
  error_code ec;
  const json::value v = json::parse(body, ec);
  if (!ec && v.is_object()) {
    const json::value* e = v.get_object().if_contains("error");
    const json::object& o = e && e->is_object() ? e->get_object() : v.get_object();
    for (const char* key : {"message", "detail"}) {
      if (const json::value* m = o.if_contains(key); m && m->is_string()) return std::string(m->get_string()).substr(0, 200);
    }
  }
  return body.substr(0, 120);
}

const char* kind_of(const error_code& ec) {
  if (ec == beast::error::timeout) return kTimeout;
  if (ec == http::error::end_of_stream || ec == http::error::partial_message) return kLost;
  return ec.category() == http::make_error_code(http::error::bad_chunk).category() ? kMalformed : kLost;
}

Clock::duration duration_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

void set_headers(http::request<http::string_body>& request, const ClientOptions& options) {
  request.set(http::field::host, options.url.host_header());
  request.set(http::field::user_agent, "sluice-bench");
  if (!options.api_key.empty()) request.set(http::field::authorization, "Bearer " + options.api_key);
  if (request.body().empty()) return;
  request.set(http::field::content_type, "application/json");
  request.prepare_payload();
}

}  // namespace

struct HttpClient::Connection {
  explicit Connection(asio::io_context& io) : stream(io) {}
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  bool used = false;
};

// One request on its way. `take` gets the bytes of the body as they come.
struct HttpClient::Exchange {
  http::request<http::string_body> request;
  std::function<void(const http::response_header<>&)> head;
  std::function<bool(std::string_view)> take;  // false: no more is wanted
  Clock::time_point leave = Clock::time_point::max();
  const char* error = nullptr;  // one of the kinds
  std::string detail;
  bool complete = false, again = false, left = false;

  void fail(const char* kind, const error_code& ec) {
    left = ec == beast::error::timeout && Clock::now() >= leave;
    error = kind;
    detail = ec.message();
  }
};

HttpClient::HttpClient(asio::io_context& io, const ClientOptions& options, Endpoints endpoints)
    : io_(io), options_(options), endpoints_(std::move(endpoints)) {}
HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Connection> HttpClient::connection() {
  if (idle_.empty()) return std::make_unique<Connection>(io_);
  auto c = std::move(idle_.back());
  idle_.pop_back();
  return c;
}

asio::awaitable<void> HttpClient::try_once(Exchange& e, std::unique_ptr<Connection> c) {
  const auto patience = [&, timeout = duration_of(options_.timeout_s)] {
    c->stream.expires_at(std::min(Clock::now() + timeout, e.leave));
  };
  error_code ec;
  auto token = asio::redirect_error(asio::use_awaitable, ec);
  patience();
  if (!c->used) {
    co_await c->stream.async_connect(endpoints_, token);
    if (ec) co_return e.fail(ec == beast::error::timeout ? kTimeout : kCannotConnect, ec);
    error_code ignored;
    c->stream.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  }
  co_await http::async_write(c->stream, e.request, token);
  // A server that refuses a large body may answer and close before it has read all: its answer is worth more than our error.
  const error_code write_error = ec;
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  co_await http::async_read_header(c->stream, c->buffer, parser, token);
  if (ec) {
    if (write_error) ec = write_error;  // came first
    // The server ended a connection that we had kept: that says nothing of this request, which goes over a new one.
    e.again = c->used && kind_of(ec) == kLost && !parser.got_some();
    co_return e.fail(kind_of(ec), ec);
  }
  e.head(parser.get());
  std::string bytes(kReadBytes, '\0');
  while (!parser.is_done()) {
    parser.get().body().data = bytes.data();
    parser.get().body().size = bytes.size();
    patience();
    co_await http::async_read_some(c->stream, c->buffer, parser, token);
    if (ec == http::error::need_buffer) ec = {};
    e.left = !e.take(std::string_view(bytes).substr(0, bytes.size() - parser.get().body().size));
    if (e.left) co_return;
    if (ec) co_return e.fail(kind_of(ec), ec);
  }
  e.complete = true;
  if (parser.get().keep_alive()) {
    c->used = true;
    c->stream.expires_never();
    idle_.push_back(std::move(c));
  }
}

asio::awaitable<void> HttpClient::ask(const RequestText& q, double zero, RequestRecord& record, std::string& text) {
  AnswerReader reader(q.chat, record);
  record.input_tokens = q.input_tokens;
  int status = 0;
  bool told_when = false;  // to come again
  std::string error_body;
  Exchange e;
  e.request = {http::verb::post, options_.url.target(q.path), 11, q.body};
  e.request.set(http::field::accept, "text/event-stream");
  set_headers(e.request, options_);
  e.head = [&](const http::response_header<>& head) {
    status = int(head.result_int());
    told_when = head.count(http::field::retry_after) > 0;
    const auto type = head[http::field::content_type];
    if (status != 200 || type.starts_with("text/event-stream")) return;
    record.error = kMalformed;
    record.detail = "the answer is no text/event-stream but '" + std::string(type) + "'";
  };
  e.take = [&](std::string_view bytes) {
    if (status == 200) reader.feed(bytes, now_seconds() - zero);
    else if (error_body.size() < kMaxErrorBody) error_body += bytes;
    return true;
  };
  record.start = now_seconds() - zero;
  do {
    e.again = false;
    co_await try_once(e, connection());
  } while (e.again);
  const double now = now_seconds() - zero;
  if (e.complete && status == 200) {
    reader.finish(now);
  } else {
    record.end = now;
    if (status != 0 && status != 200) {
      record.error = "HTTP " + std::to_string(status) + (status == 429 && !told_when ? " without Retry-After" : "");
      record.detail = message_of(error_body);
    } else if (record.ok()) {
      record.error = e.error;
      record.detail = e.detail;
    }
  }
  text = reader.text();
}

asio::awaitable<void> HttpClient::call(Call call, Page& page) {
  Exchange e;
  e.request = {http::string_to_verb(call.method), options_.url.target(call.path), 11, std::move(call.body)};
  set_headers(e.request, options_);
  if (call.leave_after_s < kInf) e.leave = Clock::now() + duration_of(call.leave_after_s);
  int status = 0;
  e.head = [&](const http::response_header<>& head) { status = int(head.result_int()); };
  e.take = [&](std::string_view bytes) {
    page.body += bytes;
    return page.body.size() < call.leave_after_bytes;
  };
  do {
    e.again = false;
    co_await try_once(e, connection());
  } while (e.again);
  page.left = e.left;
  if (e.complete) page.status = status;
  else if (e.error) page.error = std::string(e.error) + " (" + e.detail + ")";
}

Result<HttpClient::Endpoints> resolve(const ServerUrl& url) {
  asio::io_context io;
  asio::ip::tcp::resolver resolver(io);
  error_code ec;
  const auto found = resolver.resolve(url.host, url.port, ec);
  if (ec) return Status(Code::kIo, "cannot resolve the host '" + url.host + "': " + ec.message(), "give --url http://HOST:PORT");
  return HttpClient::Endpoints(found.begin(), found.end());
}

}  // namespace sluice::bench
