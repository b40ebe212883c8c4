#include "bench_client/load.h"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "base/clock.h"

namespace sluice::bench {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using boost::system::error_code;
using Guard = asio::executor_work_guard<asio::io_context::executor_type>;

// Requests are written before the run up to this size in all, so that making them up does not delay the first ones.
constexpr size_t kPreparedBytes = 256u << 20;

// A thread of the client. Its connections belong to it alone.
struct Lane {
  Lane(const ClientOptions& options, const HttpClient::Endpoints& endpoints)
      : client(io, options, endpoints), guard(io.get_executor()) {}
  asio::io_context io{1};
  HttpClient client;
  Guard guard;
  std::thread thread;
};

// Threads that stop and are joined at the end, whatever is still on its way.
class Lanes {
 public:
  Lanes(const LoadOptions& o, const HttpClient::Endpoints& endpoints) {
    for (int i = 0; i < o.threads; ++i) lanes_.push_back(std::make_unique<Lane>(o.client, endpoints));
    for (auto& lane : lanes_) lane->thread = std::thread([&io = lane->io] { io.run(); });
  }
  ~Lanes() { stop(); }
  void stop() {
    for (auto& lane : lanes_) lane->io.stop();
    for (auto& lane : lanes_) {
      if (lane->thread.joinable()) lane->thread.join();
    }
  }
  Lane& of(int64_t session) { return *lanes_[size_t(session) % lanes_.size()]; }

 private:
  std::vector<std::unique_ptr<Lane>> lanes_;
};

// The first turn of a session, ready to be sent.
struct Prepared {
  json::array history;
  RequestText request;
};

// A stretch of sessions: sends each when it is due and a place is free. Runs in the calling thread; the lanes answer to it.
class Phase {
 public:
  Phase(const LoadOptions& o, const Workload& w, Lanes& lanes, int64_t first, int64_t count, const Arrivals& arrivals)
      : options_(o), workload_(w), lanes_(lanes), first_(first), count_(count), due_(arrival_times(count, arrivals, o.seed)) {}

  void run();
  bool interrupted() const { return interrupted_; }
  // After the lanes have come to rest.
  LoadResult result();

 private:
  void prepare_until(size_t bytes);
  void pump();
  void launch();
  void session_ended(int64_t turns_left);
  void interrupt();
  void end();
  asio::awaitable<void> converse(Lane& lane, int64_t session, double arrival, Prepared prepared);
  double now() const { return now_seconds() - zero_; }

  const LoadOptions& options_;
  const Workload& workload_;
  Lanes& lanes_;
  const int64_t first_, count_;
  const std::vector<double> due_;

  asio::io_context control_{1};
  asio::steady_timer timer_{control_};
  asio::signal_set signals_{control_};
  std::optional<Guard> guard_;
  std::deque<Prepared> prepared_;
  int64_t next_ = 0, in_flight_ = 0, skipped_ = 0;
  double zero_ = 0, interrupted_at_ = 0;
  bool interrupted_ = false;

  std::atomic<int64_t> started_{0};
  std::mutex mutex_;
  std::vector<RequestRecord> records_;  // under mutex_
};

void Phase::prepare_until(size_t bytes) {
  size_t total = 0;
  while (next_ + int64_t(prepared_.size()) < count_ && (total < bytes || prepared_.empty())) {
    Prepared p;
    p.request = workload_.request(first_ + next_ + int64_t(prepared_.size()), 0, p.history);
    total += p.request.body.size();
    prepared_.push_back(std::move(p));
  }
}

void Phase::run() {
  prepare_until(kPreparedBytes);
  guard_.emplace(control_.get_executor());
  if (options_.stop_on_interrupt) {
    error_code ignored;
    signals_.add(SIGINT, ignored);
    signals_.async_wait([this](error_code ec, int) {
      if (!ec) interrupt();
    });
  }
  zero_ = now_seconds();
  asio::post(control_, [this] { pump(); });
  control_.run();
}

void Phase::pump() {
  while (next_ < count_ && (options_.max_concurrency == 0 || in_flight_ < options_.max_concurrency)) {
    const double wait = due_[size_t(next_)] - now();
    if (wait > 0) {
      timer_.expires_after(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(wait)));
      timer_.async_wait([this](error_code ec) {
        if (!ec) pump();
      });
      return;
    }
    launch();
  }
  if (next_ == count_ && in_flight_ == 0) end();
}

void Phase::launch() {
  prepare_until(0);
  Prepared p = std::move(prepared_.front());
  prepared_.pop_front();
  const int64_t i = next_++;
  ++in_flight_;
  Lane& lane = lanes_.of(i);
  asio::co_spawn(lane.io, converse(lane, first_ + i, due_[size_t(i)], std::move(p)), asio::detached);
}

asio::awaitable<void> Phase::converse(Lane& lane, int64_t session, double arrival, Prepared prepared) {
  int64_t turn = 0;
  for (bool ok = true; ok && turn < workload_.turns(); ++turn) {
    if (turn > 0) {
      prepared.request = workload_.request(session, turn, prepared.history);
      arrival = now();
    }
    RequestRecord record{.session = session, .turn = turn, .arrival = arrival};
    std::string text;
    ++started_;
    co_await lane.client.ask(prepared.request, zero_, record, text);
    ok = record.ok();
    prepared.history.push_back(json::object{{"role", "assistant"}, {"content", std::move(text)}});
    const std::lock_guard lock(mutex_);
    records_.push_back(std::move(record));
  }
  asio::post(control_, [this, left = workload_.turns() - turn] { session_ended(left); });
}

void Phase::session_ended(int64_t turns_left) {
  --in_flight_;
  skipped_ += turns_left;
  if (options_.show) {
    int64_t done;
    {
      const std::lock_guard lock(mutex_);
      done = int64_t(records_.size());
    }
    options_.show(done + skipped_, count_ * workload_.turns());
  }
  pump();
}

void Phase::interrupt() {
  interrupted_ = true;
  interrupted_at_ = now();
  end();
}

void Phase::end() {
  timer_.cancel();
  error_code ignored;
  signals_.cancel(ignored);
  signals_.clear(ignored);  // a second interrupt ends the program
  guard_.reset();
  if (interrupted_) control_.stop();
}

LoadResult Phase::result() {
  LoadResult r;
  const std::lock_guard lock(mutex_);
  r.records = std::move(records_);
  r.unfinished = started_ - int64_t(r.records.size());
  r.interrupted = interrupted_;
  double first = 0, last = 0;
  for (const RequestRecord& q : r.records) {
    first = &q == r.records.data() ? q.start : std::min(first, q.start);
    last = std::max(last, q.end);
  }
  r.seconds = (interrupted_ ? interrupted_at_ : last) - first;
  return r;
}

}  // namespace

Result<LoadResult> run_load(const LoadOptions& options, const Workload& workload) {
  SLUICE_ASSIGN_OR_RETURN(const HttpClient::Endpoints endpoints, resolve(options.client.url));
  // Declared before the lanes, whose coroutines refer to them until the lanes are gone.
  LoadOptions quiet = options;
  quiet.show = {};
  std::optional<Phase> warmup, measured;
  Lanes lanes(options, endpoints);
  if (options.warmup > 0) {
    warmup.emplace(quiet, workload, lanes, options.sessions, options.warmup, Arrivals{});
    warmup->run();
    if (warmup->interrupted()) {
      lanes.stop();
      return LoadResult{.interrupted = true};
    }
    const LoadResult r = warmup->result();
    if (std::ranges::none_of(r.records, &RequestRecord::ok))
      return Status(Code::kIo, "no warm-up request succeeded: " + r.records[0].error + ": " + r.records[0].detail);
  }
  measured.emplace(options, workload, lanes, 0, options.sessions, options.arrivals);
  measured->run();
  lanes.stop();
  return measured->result();
}

Result<std::string> first_model(const ClientOptions& client) {
  SLUICE_ASSIGN_OR_RETURN(const HttpClient::Endpoints endpoints, resolve(client.url));
  asio::io_context io;
  HttpClient http(io, client, endpoints);
  HttpClient::Page page;
  asio::co_spawn(io, http.call({.path = "/v1/models"}, page), asio::detached);
  io.run();
  const std::string where = client.url.text() + "/v1/models";
  if (page.status == 0) return Status(Code::kIo, where + ": " + page.error, "start the server, or give its --url");
  error_code ec;
  const json::value v = json::parse(page.body, ec);
  const json::value* id = ec ? nullptr : v.find_pointer("/data/0/id", ec);
  if (page.status != 200 || !id || !id->is_string())
    return Status(Code::kIo, where + ": HTTP " + std::to_string(page.status) + " and no list of models", "give --model NAME");
  return std::string(id->get_string());
}

}  // namespace sluice::bench
