// The address of a server: http://HOST[:PORT][/PATH].
#pragma once

#include <string>

#include "base/status.h"

namespace sluice::bench {

struct ServerUrl {
  std::string host, port;  // host without the brackets of an IPv6 address
  std::string base;        // path before /v1, without a slash at its end
  std::string host_header() const;
  std::string target(const std::string& path) const { return base + path; }
  std::string text() const { return "http://" + host_header() + base; }
};

// A path that ends in /v1 is taken without it, as that is how clients of OpenAI's API name a server.
Result<ServerUrl> parse_url(const std::string& text);

}  // namespace sluice::bench
