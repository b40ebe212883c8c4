#include "server/server_state.h"

namespace sluice {

const char* name_of(Rejected reason) {
  switch (reason) {
    case Rejected::kConnections:
      return "connections";
    case Rejected::kPeerConnections:
      return "peer_connections";
    case Rejected::kDescriptors:
      return "descriptors";
    case Rejected::kFraming:
      return "framing";
    case Rejected::kHeaders:
      return "headers";
    case Rejected::kTarget:
      return "target";
    case Rejected::kBody:
      return "body";
    case Rejected::kBodyMemory:
      return "body_memory";
    case Rejected::kHeadTimeout:
      return "head_timeout";
    case Rejected::kBodyTimeout:
      return "body_timeout";
    case Rejected::kHost:
      return "host";
    case Rejected::kKey:
      return "key";
    case Rejected::kNotFound:
      return "not_found";
    case Rejected::kMethod:
      return "method";
    case Rejected::kExpectation:
      return "expectation";
    case Rejected::kVersion:
      return "version";
    case Rejected::kDraining:
      return "draining";
    case Rejected::kCount:
      break;
  }
  return "none";
}

Rejected ServerState::admit(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  if (admitted_ >= limits.max_connections) return Rejected::kConnections;
  if (!peer.empty()) {
    int64_t& of_peer = peers_[peer];
    if (of_peer >= limits.max_connections_per_peer) return Rejected::kPeerConnections;
    ++of_peer;
  }
  ++admitted_;
  return Rejected::kCount;
}

bool ServerState::admit_refusal() {
  const std::lock_guard lock(mutex_);
  if (refusing_ >= limits.max_connections / 8 + 16) return false;
  ++refusing_;
  return true;
}

void ServerState::leave(const std::string& peer, bool was_admitted) {
  const std::lock_guard lock(mutex_);
  if (!was_admitted) {
    --refusing_;
    return;
  }
  --admitted_;
  const auto it = peers_.find(peer);
  if (it != peers_.end() && --it->second == 0) peers_.erase(it);
}

void ServerState::begin_request() {
  counters.requests_running.fetch_add(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  ++running_;
}

void ServerState::end_request() {
  counters.requests_running.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (--running_ == 0) changed_.notify_all();
}

int ServerState::wait_for_requests(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return running_ == 0 || stopping; });
  return int(running_);
}

void ServerState::wake_waiters() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

HttpResponse ServerState::format(const HttpError& error) const {
  const ErrorFormatter* of_path = router.errors_at(error.path);
  const ErrorFormatter& formatter = of_path ? *of_path : options.error_formatter;
  if (!formatter) return {error.status, {{"Content-Type", "text/plain; charset=utf-8"}}, error.message + "\n"};
  HttpResponse response = formatter(error);
  response.status = error.status;
  return response;
}

}  // namespace sluice
