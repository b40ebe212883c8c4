// Names by which a server may be called. A web page whose own name is made to point at this machine (DNS rebinding) would be of the
// server's origin for a browser, and could read its answers; its requests still carry that name in their Host header.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

class AllowedHosts {
 public:
  AllowedHosts() = default;  // any name
  // localhost, the addresses of the loopback interface and these names, in any case; "*" stands for any.
  explicit AllowedHosts(std::vector<std::string> names);

  // `host` is the header with its port, if it has one. None, as of HTTP/1.0, is no browser's.
  bool allow(std::string_view host) const;

 private:
  bool any_ = true;
  std::vector<std::string> names_;
};

}  // namespace sluice
