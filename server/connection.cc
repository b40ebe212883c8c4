#include "server/connection.h"

#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <cstdio>

#include "server/response_head.h"

namespace sluice {
namespace {

using boost::system::error_code;

constexpr asio::use_awaitable_t<IoExecutor> kAwait;
constexpr size_t kHeadPiece = 4096;    // most headers fit; an idle connection holds no more
constexpr size_t kBodyPiece = 65536;   // large bodies in few reads
constexpr size_t kWritePiece = 65536;  // what must go out within write_stall_ms
constexpr int kUnsentInKernel = 2 * kWritePiece;
constexpr auto kNever = std::chrono::hours(24);

using NotSentLowAt = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_NOTSENT_LOWAT>;

bool would_block(const error_code& ec) { return ec == asio::error::would_block || ec == asio::error::try_again; }

void append_chunk(std::string& out, std::string_view piece) {
  std::array<char, 18> size;
  const auto end = std::to_chars(size.data(), size.data() + size.size(), piece.size(), 16).ptr;
  out.append(size.data(), end);
  out += "\r\n";
  out += piece;
  out += "\r\n";
}

}  // namespace

Connection::Connection(ServerState& state, Worker& worker, Socket socket, std::string peer, std::string counted_as,
                       Rejected refused)
    : state_(state),
      worker_(worker),
      limits_(state.limits),
      socket_(std::move(socket)),
      timer_(worker.context.get_executor()),
      peer_(std::move(peer)),
      counted_as_(std::move(counted_as)),
      refused_(refused),
      accepted_(Clock::now()) {
  state_.counters.connections_open.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() { finish(); }

void Connection::start() {
  const auto self = shared_from_this();
  error_code ignored;
  socket_.non_blocking(true, ignored);
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  // The kernel would take megabytes for a client that does not read.
  socket_.set_option(NotSentLowAt(kUnsentInKernel), ignored);
  // An exception (no memory) ends this connection alone. Where an operation could not begin, asio destroys the coroutine and what
  // was to be called at its end.
  const std::shared_ptr<void> at_end(nullptr, [self](void*) {
    self->finish();
    self->worker_.connections.erase(self);
  });
  worker_.connections.insert(self);
  asio::co_spawn(worker_.context.get_executor(), serve(), [at_end](std::exception_ptr) {});
}

void Connection::finish() {
  if (finished_) return;
  finished_ = true;
  close();
  if (exchange_) exchange_->cancel(state_.stopping ? CancelReason::kShutdown : CancelReason::kClientGone);
  end_exchange();
  hold_body(0);
  state_.counters.connections_open.fetch_sub(1, std::memory_order_relaxed);
  state_.leave(counted_as_, refused_ == Rejected::kCount);
}

void Connection::close() {
  broken_ = true;
  error_code ignored;
  socket_.close(ignored);
  notify();
}

void Connection::notify() {
  notified_ = true;
  timer_.cancel();
}

void Connection::cancel_running(CancelReason reason) {
  if (exchange_) exchange_->cancel(reason);
  notify();
}

// The one place where the coroutine waits: for notify(), or a time. Callers look again at what they wait for.
Awaitable<void> Connection::wait_until(Clock::time_point deadline) {
  start_reading();
  if (!notified_) {
    error_code ignored;
    timer_.expires_at(deadline);
    co_await timer_.async_wait(asio::bind_allocator(wait_memory_.allocator(), asio::redirect_error(kAwait, ignored)));
  }
  notified_ = false;
}

// Reads ahead while a request runs, to learn that the client has gone; no further than a header is long.
void Connection::start_reading() {
  if (reading_ || eof_ || broken_) return;
  const size_t most_ahead = size_t(limits_.max_header_bytes) + (in_body_ ? 2 * kBodyPiece : 1);
  if (buffer_.size() >= most_ahead) return;
  const size_t room = std::min(in_body_ ? kBodyPiece : kHeadPiece, most_ahead - buffer_.size());
  reading_ = true;
  char* const to = buffer_.prepare(room);
  socket_.async_read_some(asio::buffer(to, room), [self = shared_from_this()](error_code ec, size_t n) {
    self->reading_ = false;
    self->buffer_.commit(n);
    self->state_.counters.bytes_in.fetch_add(int64_t(n), std::memory_order_relaxed);
    if (ec == asio::error::eof) {
      self->eof_ = true;
    } else if (ec) {
      self->broken_ = true;
    }
    self->notify();
  });
}

// A client that has closed looks like one that has only ended its half. Both are gone for an answer that is still to come: work
// for nobody is worse than a client that wants an answer after its end of file. Answers that are ready are sent in any case.
bool Connection::client_gone() {
  if (broken_ || eof_) return true;
  if (reading_) return false;
  pollfd p{socket_.native_handle(), POLLRDHUP, 0};  // the end lies behind bytes for which there is no room
  return ::poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

bool Connection::hold_body(size_t bytes) {
  const int64_t more = int64_t(bytes) - int64_t(held_body_);
  held_body_ = bytes;
  if (more == 0) return true;
  return state_.body_bytes.fetch_add(more) + more <= limits_.max_body_bytes_total || more < 0;
}

// A coroutine that ends without ever having waited is ended by a message as well, so it waits before there is anything that fails.
auto Connection::wait_first() {
  return asio::async_initiate<const asio::deferred_t, void()>(
      [this](auto&& go_on) {
        asio::post(worker_.context.get_executor(), asio::bind_allocator(wait_memory_.allocator(), std::move(go_on)));
      },
      asio::deferred);
}

Awaitable<void> Connection::serve() {
  co_await wait_first();
  Next next = Next::kKeepAlive;
  if (refused_ != Rejected::kCount) {
    begin_head();
    error_.status = 503;
    error_.message = "too many connections";
    next = co_await refuse();
  }
  while (next == Next::kKeepAlive) next = co_await serve_request();
  if (next == Next::kLinger) co_await linger();
  close();
}

// Closing while the client still sends would reset the connection, and with it the answer on its way.
Awaitable<void> Connection::linger() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  const auto deadline = in_ms(limits_.linger_ms);
  while (!eof_ && !broken_ && Clock::now() < deadline) {
    buffer_.clear();
    co_await wait_until(deadline);
  }
}

void Connection::begin_head() {
  parser_.emplace(limits_);
  in_body_ = false;
  hold_body(0);
  record_ = {};
  record_.peer = peer_;
  error_ = {};
  error_headers_.clear();
  head_only_ = false;
  http11_ = true;
  began_ = Clock::now();
}

Awaitable<Connection::Next> Connection::serve_request() {
  begin_head();
  const Got head = co_await read_head();
  first_request_ = false;
  if (head == Got::kClosed) co_return Next::kAbort;
  if (head == Got::kRefused) co_return co_await refuse();
  const Route* const route = choose();
  if (!route) co_return co_await refuse();
  const Got body = co_await read_body();
  if (body == Got::kClosed) co_return Next::kAbort;
  if (body == Got::kRefused) co_return co_await refuse();
  co_return co_await handle(*route);
}

std::string Connection::new_request_id() {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(worker_.random()),
                static_cast<unsigned long long>(worker_.random()));
  return text;
}

void Connection::set_error(int status, Rejected why, std::string message) {
  error_.status = status;
  error_.message = std::move(message);
  state_.counters.reject(why);
}

Awaitable<Connection::Got> Connection::read_head() {
  const auto idle_deadline =
      first_request_ ? accepted_ + std::chrono::milliseconds(limits_.header_timeout_ms) : in_ms(limits_.keep_alive_timeout_ms);
  auto deadline = idle_deadline;
  bool begun = false;
  for (;;) {
    if (!buffer_.empty()) {
      if (!std::exchange(begun, true)) {
        began_ = Clock::now();
        // A first request has its time from the accept on: a client that says nothing is no better than one that says little.
        if (!first_request_) deadline = in_ms(limits_.header_timeout_ms);
      }
      const size_t used = parser_->feed(buffer_.view());
      buffer_.consume(used);
      if (parser_->state() == RequestParser::State::kFailed) {
        set_error(parser_->error_status(), parser_->rejected(), parser_->error());
        co_return Got::kRefused;
      }
      if (parser_->state() != RequestParser::State::kHead) break;
      if (used > 0) continue;
    }
    if (broken_ || (eof_ && !begun)) co_return Got::kClosed;
    if (!begun && state_.draining && !first_request_) co_return Got::kClosed;
    const bool late = Clock::now() >= deadline;
    if (late && !begun) co_return Got::kClosed;
    if (eof_) set_error(400, Rejected::kFraming, "the connection ended within the header");
    if (!eof_ && late) set_error(408, Rejected::kHeadTimeout, "the header did not arrive in time");
    if (eof_ || late) co_return Got::kRefused;
    co_await wait_until(deadline);
  }
  HttpRequest& request = parser_->request();
  const std::string_view id = request.header("X-Request-Id");
  request.id = is_good_request_id(id) ? std::string(id) : new_request_id();
  request.peer = peer_;
  record_.method = request.method;
  record_.path = error_.path = request.path;
  record_.request_id = request.id;
  head_only_ = request.method == "HEAD";
  http11_ = request.http11;
  co_return Got::kOk;
}

// The route; or none, and what to answer.
const Route* Connection::choose() {
  HttpRequest& request = parser_->request();
  Router::Match match = state_.router.find(request.method, request.path);
  const RouteOptions options = match.route ? match.route->options : RouteOptions{};
  if (options.needs_key && !state_.hosts.allow(request.header("Host"))) {
    set_error(403, Rejected::kHost, "the Host header has a name that is not this server's; --allowed-host adds one");
  } else if (options.needs_key && !state_.keys.allow(request)) {
    error_headers_.push_back({"WWW-Authenticate", "Bearer"});
    set_error(401, Rejected::kKey, "a valid API key is needed: 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'");
  } else if (state_.draining && !options.while_draining) {
    set_error(503, Rejected::kDraining, "the server is shutting down");
  } else if (match.route) {
    if (parser_->announces_too_much()) {
      set_error(413, Rejected::kBody, "the body is longer than " + std::to_string(limits_.max_body_bytes) + " bytes");
      return nullptr;
    }
    request.params = std::move(match.params);
    return match.route;
  } else if (match.allow.empty() && request.path != "*") {
    set_error(404, Rejected::kNotFound, "there is no route " + request.path);
  } else {
    if (!match.allow.empty()) error_headers_.push_back({"Allow", match.allow});
    if (request.method == "OPTIONS") {
      error_.status = 204;
    } else {
      set_error(405, Rejected::kMethod, request.method + " is not allowed here; allowed: " + match.allow);
    }
  }
  return nullptr;
}

Awaitable<Connection::Got> Connection::read_body() {
  using State = RequestParser::State;
  if (parser_->state() == State::kBody && parser_->expects_continue() && buffer_.empty()) {
    const bool ok = co_await write_all("HTTP/1.1 100 Continue\r\n\r\n", {});
    if (!ok) co_return Got::kClosed;
  }
  const auto total_deadline = in_ms(limits_.body_timeout_ms);
  const auto rate_from = in_ms(limits_.body_rate_grace_ms);
  in_body_ = parser_->state() == State::kBody;
  while (parser_->state() == State::kBody) {
    const size_t used = parser_->feed(buffer_.view());
    buffer_.consume(used);
    if (parser_->state() == State::kFailed) {
      set_error(parser_->error_status(), parser_->rejected(), parser_->error());
      co_return Got::kRefused;
    }
    if (!hold_body(parser_->body_size())) {
      set_error(503, Rejected::kBodyMemory, "the server holds too many request bodies");
      co_return Got::kRefused;
    }
    if (parser_->state() == State::kDone) break;
    if (broken_) co_return Got::kClosed;
    if (eof_) {
      set_error(400, Rejected::kFraming, "the connection ended within the body");
      co_return Got::kRefused;
    }
    // What has arrived allows this long at the least rate.
    const auto rate_deadline = rate_from + std::chrono::milliseconds(int64_t(parser_->body_size()) * 1000 / limits_.body_min_rate);
    const auto deadline = std::min(total_deadline, rate_deadline);
    if (Clock::now() >= deadline) {
      set_error(408, Rejected::kBodyTimeout, "the body did not arrive in time");
      co_return Got::kRefused;
    }
    co_await wait_until(deadline);
  }
  in_body_ = false;
  parser_->take_body();
  co_return Got::kOk;
}

// The answer to error_. The connection stays only where the request was read to its end.
Awaitable<Connection::Next> Connection::refuse() {
  parser_->drop_body();
  hold_body(0);
  if (record_.request_id.empty()) record_.request_id = new_request_id();
  error_.request_id = record_.request_id;
  HttpResponse response;
  if (error_.status == 204) {
    response.status = 204;
  } else {
    response = state_.format(error_);
  }
  for (Header& h : error_headers_) response.headers.push_back(std::move(h));
  if (error_.status == 503) response.headers.push_back({"Retry-After", std::to_string(limits_.retry_after_s.value)});
  const bool keep = parser_->state() == RequestParser::State::kDone && keep_alive();
  const std::string head = head_of(response, response.body.size(), keep);
  const bool ok = co_await write_all(head, head_only_ ? std::string_view() : response.body);
  if (refused_ == Rejected::kCount && !exchange_) log();  // a running request is logged at its end
  co_return !ok ? Next::kAbort : keep ? Next::kKeepAlive : Next::kLinger;
}

void Connection::call_handler(const Route& route, HttpRequest request) {
  Responder responder(exchange_);
  try {
    route.handler(std::move(request), responder);
  } catch (const std::exception&) {
    // The last copy of the responder goes here or with the handler, without an answer: 500.
  }
}

Awaitable<Connection::Next> Connection::handle(const Route& route) {
  auto wake = [weak = weak_from_this(), executor = socket_.get_executor()] {
    asio::post(executor, [weak] {
      if (const auto self = weak.lock()) self->notify();
    });
  };
  exchange_ = std::make_shared<Exchange>(std::move(wake), size_t(limits_.max_stream_queue_bytes), head_only_);
  state_.begin_request();
  call_handler(route, std::move(parser_->request()));
  const Next next = co_await send_answer();
  end_exchange();
  co_return next;
}

void Connection::end_exchange() {
  if (!exchange_) return;
  if (record_.cancelled == CancelReason::kNone) record_.cancelled = exchange_->cancelled();
  exchange_->detach();
  exchange_.reset();
  log();
  state_.end_request();
}

Awaitable<Connection::Next> Connection::send_answer() {
  for (;;) {
    out_ = exchange_->take();
    if (out_.head && out_.streaming) co_return co_await send_stream();
    if (out_.head) co_return co_await send_response();
    if (out_.broken) {
      error_.status = 500;
      error_.message = "the request was not answered";
      co_return co_await refuse();
    }
    if (client_gone()) {
      exchange_->cancel(state_.stopping ? CancelReason::kShutdown : CancelReason::kClientGone);
      co_return Next::kAbort;
    }
    co_await wait_until(Clock::now() + Exchange::kLookAgain);
  }
}

Awaitable<Connection::Next> Connection::send_response() {
  const HttpResponse response = std::move(*out_.head);
  const bool keep = keep_alive();
  const std::string head = head_of(response, response.body.size(), keep);
  const bool no_body = head_only_ || has_no_body(response.status);
  const bool ok = co_await write_all(head, no_body ? std::string_view() : response.body);
  co_return !ok ? Next::kAbort : keep ? Next::kKeepAlive : Next::kLinger;
}

Awaitable<Connection::Next> Connection::send_stream() {
  struct Gauge {
    std::atomic<int64_t>& value;
    explicit Gauge(std::atomic<int64_t>& v) : value(v) { value.fetch_add(1, std::memory_order_relaxed); }
    ~Gauge() { value.fetch_sub(1, std::memory_order_relaxed); }
  } gauge(state_.counters.streams_open);
  const bool keep = keep_alive() && http11_;  // the end of the connection ends a stream of HTTP/1.0
  const std::string heartbeat = std::move(out_.heartbeat);
  std::string bytes = head_of(*out_.head, std::nullopt, keep);
  if (head_only_ || has_no_body(out_.head->status)) {
    const bool ok = co_await write_all(bytes, {});
    exchange_->cancel(CancelReason::kClientGone);
    co_return !ok ? Next::kAbort : keep ? Next::kKeepAlive : Next::kLinger;
  }
  bool at_line_end = true;
  for (;;) {
    if (!out_.pieces.empty()) {
      at_line_end = out_.pieces.back() == '\n';
      http11_ ? append_chunk(bytes, out_.pieces) : void(bytes += out_.pieces);
      std::string().swap(out_.pieces);
    }
    if (out_.finished && http11_) bytes += "0\r\n\r\n";
    if (!bytes.empty()) {
      const bool ok = co_await write_all(bytes, {});
      if (!ok) co_return Next::kAbort;
      bytes.clear();
      exchange_->written();
    }
    if (out_.finished) co_return keep ? Next::kKeepAlive : Next::kLinger;
    if (out_.broken || client_gone()) {
      if (!out_.broken) exchange_->cancel(state_.stopping ? CancelReason::kShutdown : CancelReason::kClientGone);
      co_return Next::kAbort;
    }
    const auto beat = heartbeat.empty() ? Clock::now() + kNever : in_ms(limits_.heartbeat_ms);
    out_ = exchange_->take();
    while (out_.pieces.empty() && !out_.finished && !out_.broken && !client_gone() && Clock::now() < beat) {
      co_await wait_until(std::min(beat, Clock::now() + Exchange::kLookAgain));
      out_ = exchange_->take();
    }
    // Between events only: a comment within one would break it.
    if (out_.pieces.empty() && !out_.finished && at_line_end && Clock::now() >= beat) out_.pieces = heartbeat;
  }
}

bool Connection::keep_alive() const { return parser_->keep_alive() && !state_.draining && !broken_; }

std::string Connection::head_of(const HttpResponse& response, std::optional<uint64_t> content_length, bool keep) {
  const std::time_t now = std::time(nullptr);
  if (now != worker_.date_second) {
    worker_.date_second = now;
    worker_.date = http_date(now);
  }
  record_.status = response.status;
  return write_head({response.status, response.headers, http11_, keep, content_length, record_.request_id, worker_.date});
}

// False when the client takes no more: it has gone, or has not read for write_stall_ms.
Awaitable<bool> Connection::write_all(std::string_view head, std::string_view body) {
  auto deadline = in_ms(limits_.write_stall_ms);
  size_t since_deadline = 0;
  while (!head.empty() || !body.empty()) {
    error_code ec;
    const std::array<asio::const_buffer, 2> both{asio::buffer(head.data(), head.size()), asio::buffer(body.data(), body.size())};
    const size_t n = broken_ ? 0 : socket_.write_some(both, ec);
    if (broken_ || (ec && !would_block(ec))) {
      broken_ = true;
      if (exchange_) exchange_->cancel(state_.stopping ? CancelReason::kShutdown : CancelReason::kClientGone);
      record_.cancelled = state_.stopping ? CancelReason::kShutdown : CancelReason::kClientGone;
      co_return false;
    }
    const size_t of_head = std::min(n, head.size());
    head.remove_prefix(of_head);
    body.remove_prefix(n - of_head);
    record_.bytes_out += int64_t(n);
    state_.counters.bytes_out.fetch_add(int64_t(n), std::memory_order_relaxed);
    since_deadline += n;
    if (since_deadline >= kWritePiece) {
      since_deadline = 0;
      deadline = in_ms(limits_.write_stall_ms);
    }
    if (!ec) continue;
    writable_ = false;
    if (!std::exchange(waits_for_room_, true)) {
      socket_.async_wait(Socket::wait_write, [self = shared_from_this()](error_code) {
        self->waits_for_room_ = false;
        self->writable_ = true;
        self->notify();
      });
    }
    while (!writable_ && !broken_) {
      if (Clock::now() >= deadline || (exchange_ && exchange_->too_slow())) {
        if (exchange_) exchange_->cancel(CancelReason::kSlowReader);
        record_.cancelled = CancelReason::kSlowReader;
        // Reset: what the kernel still holds for this client would stay there for minutes.
        socket_.set_option(asio::socket_base::linger(true, 0), ec);
        broken_ = true;
        co_return false;
      }
      co_await wait_until(deadline);
    }
  }
  co_return true;
}

void Connection::log() {
  HttpCounters& c = state_.counters;
  c.responses[size_t(record_.status) / 100 % 6].fetch_add(1, std::memory_order_relaxed);
  switch (record_.cancelled) {
    case CancelReason::kNone:
      break;
    case CancelReason::kClientGone:
      c.cancelled_client_gone.fetch_add(1, std::memory_order_relaxed);
      break;
    case CancelReason::kSlowReader:
      c.cancelled_slow_reader.fetch_add(1, std::memory_order_relaxed);
      break;
    case CancelReason::kShutdown:
      c.cancelled_shutdown.fetch_add(1, std::memory_order_relaxed);
      break;
  }
  if (!state_.options.access_log) return;
  record_.seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  try {
    state_.options.access_log(record_);
  } catch (const std::exception&) {  // no memory: the line is left out
  }
}

}  // namespace sluice
