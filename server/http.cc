#include "server/http.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/out_of_memory.h"
#include "core/thread_errors.h"
#include "server/connection.h"

namespace sluice {
namespace {

using asio::ip::tcp;
using boost::system::error_code;
using Acceptor = asio::basic_socket_acceptor<tcp, IoExecutor>;
using Guard = asio::executor_work_guard<IoExecutor>;

Status check(const HttpOptions& options, const Router& router) {
  SLUICE_RETURN_IF_ERROR(router.status());
  Status s;
  each_limit(options.limits, [&](const HttpLimit& l) {
    if (!s.ok() || (l >= 1 && l <= l.max)) return;
    s = invalid("--" + std::string(l.flag) + " is " + std::to_string(l.value) + " " + l.unit,
                "give 1 to " + std::to_string(l.max) + ": " + l.reason);
  });
  for (const std::string& key : options.api_keys) {
    if (s.ok() && key.empty()) s = invalid("an API key is empty", "leave the option out to serve without a key");
  }
  for (const std::string& name : options.allowed_hosts.value_or(std::vector<std::string>())) {
    if (s.ok() && (name.empty() || name.find_first_of(":/ ") != std::string::npos))
      s = invalid("--allowed-host '" + name + "' is not a name", "give it without scheme and port, as llm.example.com");
  }
  return s;
}

// The limit per peer counts IPv6 clients by their /64, of which each has all addresses. Empty for loopback.
std::string counted_as(const asio::ip::address& address) {
  if (address.is_loopback()) return {};
  if (!address.is_v6()) return address.to_string();
  const auto bytes = address.to_v6().to_bytes();
  return std::string(bytes.begin(), bytes.begin() + 8);
}

asio::ip::address plain(const asio::ip::address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  return address;
}

AllowedHosts hosts_at(const asio::ip::address& address, const HttpOptions& o) {
  if (!o.allowed_hosts || (o.allowed_hosts->empty() && !address.is_loopback())) return {};
  std::vector<std::string> names = *o.allowed_hosts;
  names.push_back(o.host);
  return AllowedHosts(std::move(names));
}

// A context's list of timers grows with those who wait: with room for all from the start, waiting takes no memory.
void make_room_for_timers(Worker& worker, const HttpLimits& limits) {
  constexpr int64_t kMost = 1 << 14;  // beyond that it grows
  std::vector<Timer> timers;
  for (int64_t n = std::min<int64_t>(limits.max_connections * 9 / 8 + 32, kMost); n > 0; --n)
    timers.emplace_back(worker.context.get_executor(), Clock::time_point::max()).async_wait([](error_code) {});
}

// Has run() look at the state, and begin anew.
void call(Worker& worker) {
  const std::lock_guard lock(worker.calling);
  worker.called = true;
  worker.context.stop();
}
// Whether there was a call.
bool answer(Worker& worker) {
  const std::lock_guard lock(worker.calling);
  worker.context.restart();
  return worker.called.exchange(false);
}

// A flag that is raised as long as this is there.
class Raised {
 public:
  explicit Raised(bool& flag) : flag_(&flag) { flag = true; }
  Raised(Raised&& other) noexcept : flag_(std::exchange(other.flag_, nullptr)) {}
  ~Raised() { lower(); }
  void lower() {
    if (flag_) *std::exchange(flag_, nullptr) = false;
  }

 private:
  bool* flag_;
};

// Programs that this one starts must not hold its connections open.
void close_on_exec(int fd) { ::fcntl(fd, F_SETFD, FD_CLOEXEC); }

}  // namespace

struct HttpServer::Impl {
  Impl(HttpOptions o, Router r) : state(std::move(o), std::move(r)) {}

  Status listen();
  Status start_threads();
  void accept();
  void accepted(error_code ec, Worker& worker, Socket socket);
  void take_in(Worker& worker, Socket socket);
  void run(Worker& worker);
  void call_workers();
  void look_at_state(Worker& worker);
  void stop();

  ServerState state;
  bool accepting = false;  // these two are before the contexts, in which an operation of theirs may be left
  OperationMemory accept_memory;
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<Guard> guards;
  std::vector<std::thread> threads;
  tcp::endpoint endpoint;
  std::atomic<bool> cancelling{false};
  std::mutex stop_mutex;
  // The rest is the first thread's, which accepts.
  std::unique_ptr<Acceptor> acceptor;
  std::optional<Timer> pause;
  std::optional<Socket> next_socket;
  size_t next_worker = 0;
};

Status HttpServer::Impl::listen() {
  const HttpOptions& o = state.options;
  const std::string where = o.host + ":" + std::to_string(o.port);
  error_code ec;
  tcp::resolver resolver(workers[0]->context);
  const auto found = resolver.resolve(o.host, std::to_string(o.port), tcp::resolver::passive, ec);
  if (ec)
    return {Code::kInvalidArgument, "cannot resolve the host '" + o.host + "': " + ec.message(), "give an address of this machine"};
  for (const auto& entry : found) {
    const tcp::endpoint e = entry.endpoint();
    acceptor = std::make_unique<Acceptor>(workers[0]->context.get_executor());
    error_code ignored;
    acceptor->open(e.protocol(), ec);
    if (!ec) acceptor->set_option(tcp::acceptor::reuse_address(true), ec);  // after a restart; two listeners remain impossible
    if (!ec && e.protocol() == tcp::v6()) acceptor->set_option(asio::ip::v6_only(false), ignored);
    if (!ec) acceptor->bind(e, ec);
    if (!ec) acceptor->listen(int(o.limits.listen_backlog), ec);
    if (!ec) endpoint = acceptor->local_endpoint(ec);
    if (!ec) {
      close_on_exec(acceptor->native_handle());
      state.hosts = hosts_at(plain(endpoint.address()), o);
      return ok_status();
    }
  }
  return {Code::kIo, "cannot listen on " + where + ": " + ec.message(), "choose another --port, or 0 for a free one"};
}

Status HttpServer::Impl::start_threads() {
  for (auto& w : workers) guards.emplace_back(w->context.get_executor());
  // Signals are for the caller's threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status status;
  try {
    for (auto& w : workers) threads.emplace_back([this, worker = w.get()] { run(*worker); });
  } catch (const std::system_error& e) {
    status = no_more_threads(e);
  } catch (const std::bad_alloc&) {
    status = out_of_memory();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!status.ok()) stop();
  return status;
}

// An I/O thread. What a handler throws, for lack of memory, ends that handler alone.
void HttpServer::Impl::run(Worker& worker) {
  do {
    try {
      if (answer(worker)) look_at_state(worker);
      if (&worker == workers[0].get()) accept();
      worker.context.run();
    } catch (const std::exception&) {
      worker.called = true;
    }
  } while (worker.called);
}

// Other than a message to each this takes no memory.
void HttpServer::Impl::call_workers() {
  for (auto& w : workers) call(*w);
}

void HttpServer::Impl::look_at_state(Worker& worker) {
  const bool stopping = state.stopping, closes = stopping || (state.draining && !state.options.listen_while_draining);
  error_code ignored;
  if (closes && &worker == workers[0].get()) acceptor->close(ignored);
  for (const auto& c : worker.connections) {
    if (stopping) c->close();
    else if (cancelling) c->cancel_running(CancelReason::kShutdown);
    else c->notify();  // idle ones close while the server drains
  }
}

// Waits for the next connection, unless it does. Where asio finds no memory for that connection it drops what it was to call, with
// an exception for run(), which begins anew.
void HttpServer::Impl::accept() {
  if (accepting || !acceptor->is_open()) return;
  Worker& worker = *workers[next_worker++ % workers.size()];
  next_socket.emplace(worker.context.get_executor());
  auto then = [this, &worker, raised = Raised(accepting)](error_code ec) mutable {
    raised.lower();
    accepted(ec, worker, std::move(*next_socket));
  };
  acceptor->async_accept(*next_socket, asio::bind_allocator(accept_memory.allocator(), std::move(then)));
}

void HttpServer::Impl::accepted(error_code ec, Worker& worker, Socket socket) {
  if (ec == asio::error::no_descriptors || ec == boost::system::errc::too_many_files_open_in_system ||
      ec == asio::error::no_buffer_space || ec == asio::error::no_memory) {
    // Those who wait stay in the backlog until a descriptor is free; trying at once would only burn the CPU.
    state.counters.reject(Rejected::kDescriptors);
    pause->expires_after(std::chrono::milliseconds(50));
    auto then = [this, raised = Raised(accepting)](error_code) mutable {
      raised.lower();
      accept();
    };
    pause->async_wait(asio::bind_allocator(accept_memory.allocator(), std::move(then)));
    return;
  }
  accept();
  if (!ec) take_in(worker, std::move(socket));
}

void HttpServer::Impl::take_in(Worker& worker, Socket socket) {
  close_on_exec(socket.native_handle());
  state.counters.connections_total.fetch_add(1, std::memory_order_relaxed);
  error_code ec;
  const asio::ip::address address = plain(socket.remote_endpoint(ec).address());
  if (ec) return;  // gone already
  const std::string key = counted_as(address);
  const Rejected refused = state.admit(key);
  if (refused != Rejected::kCount) {
    state.counters.reject(refused);
    if (!state.admit_refusal()) return;
  }
  auto connection = std::make_shared<Connection>(state, worker, std::move(socket), address.to_string(), key, refused);
  asio::post(worker.context.get_executor(), [this, &worker, connection = std::move(connection)] {
    if (!state.stopping) connection->start();
  });
}

void HttpServer::Impl::stop() {
  state.draining = true;
  state.stopping = true;
  state.wake_waiters();
  const std::lock_guard lock(stop_mutex);  // the second caller waits until all has ended
  if (guards.empty()) return;
  call_workers();
  guards.clear();
  for (std::thread& t : threads) t.join();
  threads.clear();
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { stop(); }

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options, Router router) {
  SLUICE_RETURN_IF_ERROR(check(options, router));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(router));
  try {
    for (int i = 0; i < impl->state.limits.io_threads; ++i) impl->workers.push_back(std::make_unique<Worker>());
    // Asio makes a context's descriptors with its first socket; later there may be none left for them.
    for (auto& w : impl->workers) Socket(w->context.get_executor());
    for (auto& w : impl->workers) make_room_for_timers(*w, impl->state.limits);
    impl->pause.emplace(impl->workers[0]->context.get_executor());
    SLUICE_RETURN_IF_ERROR(impl->listen());
    SLUICE_RETURN_IF_ERROR(impl->start_threads());
  } catch (const std::exception& e) {  // no descriptors for epoll
    return Status(Code::kResourceExhausted, std::string("cannot start the HTTP server: ") + e.what());
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

uint16_t HttpServer::port() const { return impl_->endpoint.port(); }

std::string HttpServer::address() const {
  const auto a = impl_->endpoint.address();
  return (a.is_v6() ? "[" + a.to_string() + "]" : a.to_string()) + ":" + std::to_string(port());
}

bool HttpServer::draining() const { return impl_->state.draining; }

const HttpCounters& HttpServer::counters() const { return impl_->state.counters; }

void HttpServer::begin_drain() {
  if (!impl_->state.draining.exchange(true)) impl_->call_workers();
}

int HttpServer::drain(std::chrono::milliseconds deadline) {
  ServerState& state = impl_->state;
  begin_drain();
  const int running = state.wait_for_requests(Clock::now() + deadline);
  if (running > 0 && !state.stopping) {
    impl_->cancelling = true;
    impl_->call_workers();
    state.wait_for_requests(Clock::now() + std::chrono::milliseconds(state.limits.drain_grace_ms));
  }
  stop();
  return running;
}

void HttpServer::stop() { impl_->stop(); }

}  // namespace sluice
