// Method and path -> handler.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "server/message.h"

namespace sluice {

// Runs on an I/O thread: it must not block. What takes long is handed on, with the Responder.
using Handler = std::function<void(HttpRequest, Responder)>;

struct RouteOptions {
  bool needs_key = true;        // where the server has API keys, and a name that it answers to (allowed_hosts.h)
  bool while_draining = false;  // probes and metrics; all else gets 503
};

struct Route {
  std::string method, pattern;
  Handler handler;
  RouteOptions options;
  std::vector<std::string> parts;  // of the pattern, between the slashes
};

// Patterns: "/v1/models", "/v1/models/{id}" (one part), "/v1/models/{id...}" (all the rest, at least one part). Fixed parts win
// over parameters, for all methods: a path is what its most special pattern says. A GET route answers HEAD as well.
class Router {
 public:
  void add(std::string method, std::string pattern, Handler handler, RouteOptions options = {});
  // How errors that the server itself finds at this path and below it are written; of several the longest path counts. Elsewhere
  // HttpOptions::error_formatter does it.
  void add_errors(std::string_view path, ErrorFormatter formatter);
  // The first mistake of an add(): a bad pattern, or a route that exists. HttpServer::start() asks.
  const Status& status() const { return status_; }
  const std::vector<Route>& routes() const { return routes_; }

  struct Match {
    const Route* route = nullptr;
    std::vector<std::pair<std::string, std::string>> params;
    std::string allow;  // the methods of this path, "GET, HEAD": empty if there is no such path
  };
  Match find(std::string_view method, std::string_view path) const;
  // Null: none was added for this path.
  const ErrorFormatter* errors_at(std::string_view path) const;

 private:
  struct Errors {
    std::vector<std::string> parts;  // of the path
    ErrorFormatter formatter;
  };
  std::vector<Route> routes_;
  std::vector<Errors> errors_;
  Status status_;
};

}  // namespace sluice
