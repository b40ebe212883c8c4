#include "server/allowed_hosts.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>

#include "server/message.h"

namespace sluice {
namespace {

// "name:1" -> "name", "[::1]:1" -> "::1"; a bare IPv6 address stays as it is.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[') && host.find(']') != std::string_view::npos) return host.substr(1, host.find(']') - 1);
  const size_t colon = host.find(':');
  return host.find(':', colon + 1) == std::string_view::npos ? host.substr(0, colon) : host;
}

bool is_loopback(std::string_view name) {
  boost::system::error_code ec;
  const auto address = boost::asio::ip::make_address(name, ec);
  return !ec && address.is_loopback();
}

}  // namespace

AllowedHosts::AllowedHosts(std::vector<std::string> names) : any_(std::ranges::count(names, "*") > 0), names_(std::move(names)) {
  names_.emplace_back("localhost");
}

bool AllowedHosts::allow(std::string_view host) const {
  if (any_ || host.empty()) return true;
  const std::string_view name = without_port(host);
  return is_loopback(name) || std::ranges::any_of(names_, [&](const std::string& n) { return equal_ignoring_case(n, name); });
}

}  // namespace sluice
