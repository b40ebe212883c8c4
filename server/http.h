// An HTTP/1.1 server for handlers that answer later and stream: limits on everything a client can do (limits.h), and a drain. It
// knows nothing of models or of any API.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "server/counters.h"
#include "server/limits.h"
#include "server/message.h"
#include "server/router.h"

namespace sluice {

// One line of an access log. The query is left out: it may hold secrets.
struct AccessRecord {
  std::string method, path;  // empty where the request could not be read
  std::string peer, request_id;
  int status = 0;  // 0: nothing was sent
  CancelReason cancelled = CancelReason::kNone;
  double seconds = 0;  // from the first byte of the request to the last of the answer
  int64_t bytes_out = 0;
};
using AccessLog = std::function<void(const AccessRecord&)>;  // on I/O threads

struct HttpOptions {
  std::string host = "127.0.0.1";  // a name or an address; "::" takes IPv4 as well
  uint16_t port = 8080;            // 0: a free one
  HttpLimits limits;
  std::vector<std::string> api_keys;  // none: all may call
  // If set: on a loopback address, or if any are given, routes that need a key are for the names of allowed_hosts.h, `host` and
  // these.
  std::optional<std::vector<std::string>> allowed_hosts;
  ErrorFormatter error_formatter;  // where the router has none for the path; none: plain text
  AccessLog access_log;
  // Whether a drain leaves the socket listening, so that probes learn of it from /ready instead of a refused connection.
  bool listen_while_draining = true;
};

class HttpServer {
 public:
  // Listens when this returns.
  static Result<std::unique_ptr<HttpServer>> start(HttpOptions options, Router router);
  ~HttpServer();  // stop()

  uint16_t port() const;
  std::string address() const;  // "127.0.0.1:8080", "[::1]:8080"
  bool draining() const;
  const HttpCounters& counters() const;

  // From here on new requests get 503, but for routes with `while_draining`. Not from an I/O thread.
  void begin_drain();
  // The same; returns when the running requests have ended, or after the deadline (and drain_grace) with the number of those that
  // were cut. The server has stopped then. Not from an I/O thread.
  int drain(std::chrono::milliseconds deadline);
  // Cuts everything; returns when all threads have ended. Also from another thread while drain() waits. Not from an I/O thread.
  void stop();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
