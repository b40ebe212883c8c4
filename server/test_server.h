// A server with handlers of every kind and short times, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/http.h"
#include "server/sse.h"
#include "tests/support/raw_client.h"

namespace sluice::testing {

using std::chrono::milliseconds;

inline bool eventually(const std::function<bool()>& condition, int timeout_ms = 5000) {
  const auto end = std::chrono::steady_clock::now() + milliseconds(timeout_ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

inline Headers text_plain() { return {{"Content-Type", "text/plain"}}; }

class TestServer {
 public:
  explicit TestServer(const std::function<void(HttpOptions&)>& change = {}, const std::function<void(Router&)>& more_routes = {}) {
    HttpOptions options;
    options.port = 0;
    options.access_log = [this](const AccessRecord& r) {
      const std::lock_guard lock(mutex_);
      log_.push_back(r);
    };
    if (change) change(options);
    Router router;
    add_routes(router);
    if (more_routes) more_routes(router);
    auto started = HttpServer::start(std::move(options), std::move(router));
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    if (started.ok()) server_ = std::move(started).value();
  }
  ~TestServer() { stop(); }

  HttpServer* operator->() { return server_.get(); }
  int port() const { return server_->port(); }
  const HttpCounters& counters() const { return server_->counters(); }
  // Also ends the handlers' threads, which answer nobody from then on.
  void stop() {
    if (server_) server_->stop();
    stopped_ = true;
    const std::lock_guard lock(mutex_);
    for (std::thread& t : threads_) t.join();
    threads_.clear();
  }

  // The Responder of the last request to /wait.
  Responder waiting() {
    EXPECT_TRUE(eventually([this] {
      const std::lock_guard lock(mutex_);
      return has_waiting_;
    }));
    const std::lock_guard lock(mutex_);
    has_waiting_ = false;
    return std::exchange(waiting_, {});
  }
  std::vector<AccessRecord> log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  void run_thread(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    threads_.emplace_back(std::move(work));
  }
  const std::atomic<bool>& stopped() const { return stopped_; }

  std::atomic<int> cancels{0};
  std::atomic<CancelReason> last_cancel{CancelReason::kNone};

 private:
  void add_routes(Router& r) {
    r.add("GET", "/health", [](HttpRequest, Responder a) { a.respond(200, text_plain(), "ok"); }, {false, true});
    r.add("GET", "/ready",
          [this](HttpRequest, Responder a) {
            server_->draining() ? a.respond(503, text_plain(), "draining") : a.respond(200, text_plain(), "ready");
          },
          {false, true});
    r.add("GET", "/echo/{word}", [](HttpRequest q, Responder a) {
      a.respond(200, {{"X-Method", q.method}}, std::string(q.param("word")) + "|" + q.query_value("q") + "|" + q.id);
    });
    r.add("POST", "/body", [](HttpRequest q, Responder a) { a.respond(200, text_plain(), q.body); });
    r.add("POST", "/later", [this](HttpRequest q, Responder a) {
      run_thread([body = std::move(q.body), a] { a.respond(200, text_plain(), body); });
    });
    // Held by the test; counts its cancellation.
    r.add("GET", "/wait", [this](HttpRequest, Responder a) {
      a.on_cancel([this](CancelReason reason) {
        last_cancel = reason;
        ++cancels;
      });
      const std::lock_guard lock(mutex_);
      waiting_ = std::move(a);
      has_waiting_ = true;
    });
    r.add("GET", "/throw", [](HttpRequest, Responder) { throw std::runtime_error("no"); });
    r.add("GET", "/forget", [](HttpRequest, Responder) {});
  }

  std::mutex mutex_;
  std::vector<AccessRecord> log_;
  std::vector<std::thread> threads_;
  Responder waiting_;
  bool has_waiting_ = false;
  std::atomic<bool> stopped_{false};
  std::unique_ptr<HttpServer> server_;
};

}  // namespace sluice::testing
