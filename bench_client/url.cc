#include "bench_client/url.h"

#include <algorithm>

namespace sluice::bench {
namespace {

bool is_port(const std::string& s) {
  return !s.empty() && s.size() <= 5 && std::ranges::all_of(s, [](char c) { return c >= '0' && c <= '9'; }) && std::stoi(s) >= 1 &&
         std::stoi(s) <= 65535;
}

}  // namespace

std::string ServerUrl::host_header() const {
  const std::string h = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == "80" ? h : h + ":" + port;
}

Result<ServerUrl> parse_url(const std::string& text) {
  const std::string hint = "give it as http://HOST:PORT";
  const auto bad = [&](const std::string& why) { return invalid("the URL '" + text + "' " + why, hint); };
  std::string rest = text;
  if (const size_t at = text.find("://"); at != std::string::npos) {
    if (text.substr(0, at) == "https") return bad("asks for TLS, which is not spoken here");
    if (text.substr(0, at) != "http") return bad("is not of http");
    rest = text.substr(at + 3);
  }
  if (std::ranges::any_of(rest, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == '?' || c == '#' || c == '@'; }))
    return bad("has characters that do not belong into a server's address");
  ServerUrl url;
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string authority = rest.substr(0, slash);
  url.base = rest.substr(slash);
  while (url.base.ends_with('/')) url.base.pop_back();
  if (url.base.ends_with("/v1")) url.base.resize(url.base.size() - 3);
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string::npos) return bad("has no ] after its IPv6 address");
    url.host = authority.substr(1, end - 1);
    authority = authority.substr(end + 1);
  } else {
    const size_t colon = std::min(authority.find(':'), authority.size());
    url.host = authority.substr(0, colon);
    authority = authority.substr(colon);
  }
  if (url.host.empty()) return bad("names no host");
  if (!authority.empty() && !(authority[0] == ':' && is_port(authority.substr(1)))) return bad("has no valid port");
  url.port = authority.empty() ? "80" : std::to_string(std::stoi(authority.substr(1)));
  return url;
}

}  // namespace sluice::bench
