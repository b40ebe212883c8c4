// What the connections of one server share. No sockets here.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <unordered_map>

#include "server/allowed_hosts.h"
#include "server/api_keys.h"
#include "server/http.h"

namespace sluice {

class ServerState {
 public:
  ServerState(HttpOptions o, Router r)
      : options(std::move(o)), limits(options.limits), router(std::move(r)), keys(options.api_keys) {}

  const HttpOptions options;
  const HttpLimits& limits;
  const Router router;
  const ApiKeys keys;
  AllowedHosts hosts;  // set once the address is known, before the first connection
  HttpCounters counters;
  std::atomic<bool> draining{false}, stopping{false};
  std::atomic<int64_t> body_bytes{0};  // of all requests that are read or running

  // kCount: admitted. `peer` is empty for a loopback address.
  Rejected admit(const std::string& peer);
  // A connection that was not admitted may say so to its client; too many of those may not.
  bool admit_refusal();
  void leave(const std::string& peer, bool was_admitted);

  void begin_request();
  void end_request();
  // Waits until no request runs, or for the deadline or stop(); says how many run.
  int wait_for_requests(std::chrono::steady_clock::time_point deadline);
  void wake_waiters();

  // The answer to an error that the server finds itself.
  HttpResponse format(const HttpError& error) const;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t admitted_ = 0, refusing_ = 0, running_ = 0;
  std::unordered_map<std::string, int64_t> peers_;
};

}  // namespace sluice
