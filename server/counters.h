// What the HTTP server counts, for the metrics layer to read at any time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace sluice {

// Why a request or connection was turned away by the server itself.
enum class Rejected {
  kConnections,      // over max_connections
  kPeerConnections,  // over max_connections_per_peer
  kDescriptors,      // the process has no file descriptor left
  kFraming,          // 400: not HTTP as it should be
  kHeaders,          // 431
  kTarget,           // 414
  kBody,             // 413
  kBodyMemory,       // 503: over max_body_bytes_total
  kHeadTimeout,      // 408
  kBodyTimeout,      // 408
  kHost,             // 403: a Host header with a name that is not the server's
  kKey,              // 401
  kNotFound,         // 404
  kMethod,           // 405
  kExpectation,      // 417
  kVersion,          // 505
  kDraining,         // 503
  kCount
};
const char* name_of(Rejected reason);

struct HttpCounters {
  std::atomic<int64_t> connections_open{0}, requests_running{0}, streams_open{0};  // gauges
  std::atomic<int64_t> connections_total{0}, bytes_in{0}, bytes_out{0};
  std::array<std::atomic<int64_t>, 6> responses{};  // by the status's first digit; [0]: none was sent
  std::array<std::atomic<int64_t>, size_t(Rejected::kCount)> rejected{};
  std::atomic<int64_t> cancelled_client_gone{0}, cancelled_slow_reader{0}, cancelled_shutdown{0};

  void reject(Rejected why) { rejected[size_t(why)].fetch_add(1, std::memory_order_relaxed); }
  int64_t count(Rejected why) const { return rejected[size_t(why)].load(std::memory_order_relaxed); }
};

}  // namespace sluice
