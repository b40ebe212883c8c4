// Strict JSON, and small files read whole.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

// RFC 8259 and stricter: UTF-8 only, no BOM, 64 levels at most, no key twice in an object, no number beyond double's range.
// Doubles are rounded correctly. Errors name `where` and the byte.
Result<boost::json::value> parse_json(std::string_view text, const std::string& where);

// The whole file, refused unread when it is larger than `cap` bytes. Nothing there: kNotFound.
Result<std::string> read_small_file(const std::string& path, size_t cap);

}  // namespace sluice
