#include "server/api_keys.h"

namespace sluice {
namespace {

// The time depends on the length of `given`, which the caller knows: neither on where the two differ nor on the other keys.
bool equal_in_constant_time(std::string_view given, std::string_view key) {
  volatile size_t difference = given.size() ^ key.size();  // volatile: no early way out
  for (size_t i = 0; i < given.size(); ++i) difference = difference | static_cast<unsigned char>(given[i] ^ key[i % key.size()]);
  return difference == 0;
}

// The value of a header that must be there once.
bool only_value(const HttpRequest& request, std::string_view name, std::string_view& value) {
  int count = 0;
  for (const Header& h : request.headers) {
    if (!equal_ignoring_case(h.name, name)) continue;
    value = h.value;
    ++count;
  }
  return count == 1;
}

}  // namespace

bool ApiKeys::is_key(std::string_view given) const {
  bool found = false;
  for (const std::string& key : keys_) found |= equal_in_constant_time(given, key);  // all of them, always
  return found;
}

bool ApiKeys::allow(const HttpRequest& request) const {
  if (!required()) return true;
  std::string_view value;
  bool allowed = false;
  if (only_value(request, "X-Api-Key", value)) allowed |= is_key(value);
  if (only_value(request, "Authorization", value)) {
    const size_t space = value.find(' ');
    if (space != std::string_view::npos && equal_ignoring_case(value.substr(0, space), "Bearer")) {
      const size_t key = value.find_first_not_of(' ', space);
      if (key != std::string_view::npos) allowed |= is_key(value.substr(key));
    }
  }
  return allowed;
}

}  // namespace sluice
