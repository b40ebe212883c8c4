// What a request's tools say about their parameters: which types of JSON values each takes.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace sluice {

// A set of types. Empty: nothing is said.
using JsonTypes = uint8_t;
inline constexpr JsonTypes kJsonString = 1, kJsonNumber = 2, kJsonBoolean = 4, kJsonNull = 8, kJsonObject = 16, kJsonArray = 32;

struct ToolSchema {
  std::map<std::string, JsonTypes, std::less<>> parameters;
};

class ToolSchemas {
 public:
  // As a request has them: [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}, ...], or without the outer
  // object. What has no name, or one longer than kMaxNameBytes, is passed over; of two with one name the first counts.
  //
  // A type is read from "type", else from "enum" and "const", "anyOf", "oneOf" and "allOf", a "$ref" into the same SCHEMA,
  // "properties" and "items". A schema that says nothing, or that leads to more than 256 others, gives the empty set.
  explicit ToolSchemas(const boost::json::value& tools);

  bool empty() const { return tools_.empty(); }
  const ToolSchema* find(std::string_view name) const;

 private:
  std::map<std::string, ToolSchema, std::less<>> tools_;
};

}  // namespace sluice
