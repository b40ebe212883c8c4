// Status line and headers as bytes.
#pragma once

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "server/message.h"

namespace sluice {

struct ResponseHead {
  int status;
  const Headers& headers;
  bool http11, keep_alive;
  std::optional<uint64_t> content_length;  // none: chunked, or up to the end of the connection in HTTP/1.0
  std::string_view request_id, date;
};
std::string write_head(const ResponseHead& head);

// A client's X-Request-Id is kept if it can do no harm in a log or a header.
bool is_good_request_id(std::string_view id);

std::string http_date(std::time_t t);

// Statuses that have no body by definition.
bool has_no_body(int status);

}  // namespace sluice
