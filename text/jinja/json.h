// Between JSON and the values of a template.
#pragma once

#include <boost/json/value.hpp>
#include <optional>

#include "text/jinja/value.h"

namespace sluice::jinja {

// Strings and keys get the mark `trusted`. Integers beyond 64 bits with sign are refused, not rounded.
Value from_json(Heap& heap, const boost::json::value& json, bool trusted, int depth = 0);
// Bytes of all strings and keys.
size_t text_bytes(const boost::json::value& json);

// json.dumps with transformers' defaults: no escaping of non-ASCII or HTML, ", " and ": ".
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // what one level adds
  std::string item_separator = ", ", key_separator = ": ";
};
TextRef to_json(Heap& heap, const Value& v, const JsonStyle& style);

}  // namespace sluice::jinja
