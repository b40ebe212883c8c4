#include "server/router.h"

#include <algorithm>
#include <optional>
#include <set>

namespace sluice {
namespace {

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  if (path.substr(0, 1) == "/") path.remove_prefix(1);
  for (;;) {
    const size_t slash = path.find('/');
    parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return parts;
    path.remove_prefix(slash + 1);
  }
}

bool is_param(std::string_view part) { return part.size() > 2 && part.front() == '{' && part.back() == '}'; }
bool is_rest(std::string_view part) { return is_param(part) && part.size() > 5 && part.substr(part.size() - 4, 3) == "..."; }

std::string name_of_param(std::string_view part) {
  return std::string(is_rest(part) ? part.substr(1, part.size() - 5) : part.substr(1, part.size() - 2));
}

using Params = std::vector<std::pair<std::string, std::string>>;

std::optional<Params> match(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  Params params;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (i >= path.size()) return std::nullopt;
    if (is_rest(pattern[i])) {
      std::string rest = path[i];
      for (size_t j = i + 1; j < path.size(); ++j) rest += "/" + path[j];
      if (rest.empty()) return std::nullopt;
      params.emplace_back(name_of_param(pattern[i]), percent_decode(rest));
      return params;
    }
    if (is_param(pattern[i])) {
      if (path[i].empty()) return std::nullopt;
      params.emplace_back(name_of_param(pattern[i]), percent_decode(path[i]));
    } else if (pattern[i] != path[i]) {
      return std::nullopt;
    }
  }
  if (path.size() != pattern.size()) return std::nullopt;
  return params;
}

// Fixed before one part before the rest, from the left.
std::vector<int> generality(const Route& r) {
  std::vector<int> out;
  for (const std::string& p : r.parts) out.push_back(is_rest(p) ? 2 : is_param(p) ? 1 : 0);
  return out;
}

Status check_pattern(const std::string& pattern, const std::vector<std::string>& parts) {
  if (pattern.empty() || pattern[0] != '/') return invalid("route pattern '" + pattern + "' does not begin with '/'");
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool has_brace = parts[i].find_first_of("{}") != std::string::npos;
    if (has_brace && !is_param(parts[i]))
      return invalid("route pattern '" + pattern + "': '" + parts[i] + "' is not {name} or {name...}");
    if (is_rest(parts[i]) && i + 1 < parts.size()) return invalid("route pattern '" + pattern + "': {name...} must be last");
  }
  return ok_status();
}

}  // namespace

void Router::add(std::string method, std::string pattern, Handler handler, RouteOptions options) {
  Route route{std::move(method), std::move(pattern), std::move(handler), options, {}};
  route.parts = split_path(route.pattern);
  Status s = check_pattern(route.pattern, route.parts);
  for (const Route& r : routes_) {
    if (s.ok() && r.method == route.method && r.pattern == route.pattern)
      s = invalid("route " + r.method + " " + r.pattern + " exists");
  }
  if (s.ok() && !route.handler) s = invalid("route " + route.method + " " + route.pattern + " has no handler");
  if (!s.ok()) {
    if (status_.ok()) status_ = std::move(s);
    return;
  }
  // Special ones first, so that the first match is the right one.
  const auto at = std::upper_bound(routes_.begin(), routes_.end(), route,
                                   [](const Route& a, const Route& b) { return generality(a) < generality(b); });
  routes_.insert(at, std::move(route));
}

void Router::add_errors(std::string_view path, ErrorFormatter formatter) {
  errors_.push_back({split_path(path), std::move(formatter)});
}

const ErrorFormatter* Router::errors_at(std::string_view path) const {
  const std::vector<std::string> parts = split_path(path);
  const Errors* best = nullptr;
  for (const Errors& e : errors_) {
    const bool above = e.parts.size() <= parts.size() && std::equal(e.parts.begin(), e.parts.end(), parts.begin());
    if (above && (!best || e.parts.size() > best->parts.size())) best = &e;
  }
  return best ? &best->formatter : nullptr;
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
  Match out;
  const std::vector<std::string> parts = split_path(path);
  std::set<std::string> allowed;
  std::optional<std::vector<int>> special;  // of the path's own pattern: others that match it too are not asked
  for (const Route& r : routes_) {
    std::optional<Params> params = match(r.parts, parts);
    if (!params) continue;
    if (!special) special = generality(r);
    if (generality(r) != *special) break;
    allowed.insert(r.method);
    if (r.method == "GET") allowed.insert("HEAD");
    const bool fits = r.method == method || (method == "HEAD" && r.method == "GET");
    if (fits && !out.route) {
      out.route = &r;
      out.params = std::move(*params);
    }
  }
  for (const std::string& m : allowed) out.allow += (out.allow.empty() ? "" : ", ") + m;
  if (!out.allow.empty()) out.allow += ", OPTIONS";
  return out;
}

}  // namespace sluice
