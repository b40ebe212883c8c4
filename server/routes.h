// Every route of a server, in one place.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "server/counters.h"
#include "server/router.h"
#include "server/service.h"

namespace sluice {

struct RouteFacts {
  std::string device;      // "cpu", "cuda:0"
  bool needs_key = false;  // the server has API keys
  // Of the server that the routes are for; null until it has started.
  std::function<const HttpCounters*()> counters;
};

// The service must outlive the server.
Status add_all_routes(Router& router, Service& service, const RouteFacts& facts);

}  // namespace sluice
