// Who may call: a set of keys, compared in constant time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/message.h"

namespace sluice {

class ApiKeys {
 public:
  explicit ApiKeys(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  bool required() const { return !keys_.empty(); }
  // "Authorization: Bearer KEY" or "X-Api-Key: KEY". A header that is there twice counts as wrong.
  bool allow(const HttpRequest& request) const;

 private:
  bool is_key(std::string_view given) const;
  std::vector<std::string> keys_;
};

}  // namespace sluice
