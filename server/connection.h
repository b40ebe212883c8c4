// One client's connection: a coroutine that reads requests, hands them to handlers and writes their answers, one after the other.
// All of it runs on the one thread of its worker; a handler's threads reach it through Exchange alone.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>

#include "server/exchange.h"
#include "server/operation_memory.h"
#include "server/read_buffer.h"
#include "server/request_parser.h"
#include "server/server_state.h"

namespace sluice {

namespace asio = boost::asio;

using Clock = std::chrono::steady_clock;
using IoExecutor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<asio::ip::tcp, IoExecutor>;
using Timer = asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, IoExecutor>;
template <class T>
using Awaitable = asio::awaitable<T, IoExecutor>;

class Connection;

// What the connections of one I/O thread share.
struct Worker {
  asio::io_context context{1};
  std::atomic<bool> called{false};  // the thread shall look at what the server's state says
  std::mutex calling;  // a call sets the flag and stops the context, the thread's answer clears and restarts them: each as one step
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::mt19937_64 random{std::random_device{}()};
  std::time_t date_second = 0;
  std::string date;  // of date_second, for the Date header
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // `refused`: kCount, or why the client only gets a 503.
  Connection(ServerState& state, Worker& worker, Socket socket, std::string peer, std::string counted_as, Rejected refused);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // All on the worker's thread.
  void start();
  void notify();  // something changed: the coroutine looks again
  void cancel_running(CancelReason reason);
  void close();

 private:
  enum class Next { kKeepAlive, kLinger, kAbort };
  enum class Got { kOk, kRefused, kClosed };

  // Coroutines take no objects by value: g++ 12 destroys temporaries among their arguments twice.
  auto wait_first();
  Awaitable<void> serve();
  Awaitable<Next> serve_request();
  Awaitable<Got> read_head();
  Awaitable<Got> read_body();
  Awaitable<Next> refuse();
  Awaitable<Next> handle(const Route& route);
  Awaitable<Next> send_answer();
  Awaitable<Next> send_response();
  Awaitable<Next> send_stream();
  Awaitable<bool> write_all(std::string_view head, std::string_view body);
  Awaitable<void> wait_until(Clock::time_point deadline);
  Awaitable<void> linger();

  const Route* choose();
  void call_handler(const Route& route, HttpRequest request);
  void begin_head();
  std::string new_request_id();
  void set_error(int status, Rejected why, std::string message);
  void start_reading();
  bool client_gone();
  bool hold_body(size_t bytes);
  void end_exchange();
  void log();
  void finish();
  bool keep_alive() const;
  std::string head_of(const HttpResponse& response, std::optional<uint64_t> content_length, bool keep);
  Clock::time_point in_ms(int64_t ms) const { return Clock::now() + std::chrono::milliseconds(ms); }

  ServerState& state_;
  Worker& worker_;
  const HttpLimits& limits_;
  OperationMemory wait_memory_;
  Socket socket_;
  Timer timer_;
  const std::string peer_, counted_as_;
  const Rejected refused_;
  bool finished_ = false;

  ReadBuffer buffer_;
  bool reading_ = false;   // a read is under way
  bool eof_ = false;       // the client sends no more
  bool broken_ = false;    // the socket is of no use
  bool notified_ = false;  // since the last wait
  bool in_body_ = false;
  bool waits_for_room_ = false, writable_ = false;  // of the socket's send buffer
  size_t held_body_ = 0;

  // Of the present request.
  bool first_request_ = true;
  std::optional<RequestParser> parser_;
  Clock::time_point accepted_, began_;
  HttpError error_;  // what refuse() answers
  Headers error_headers_;
  std::shared_ptr<Exchange> exchange_;
  Exchange::Output out_;
  AccessRecord record_;
  bool head_only_ = false, http11_ = true;
};

}  // namespace sluice
