// Server-sent events: the bytes of one event, as browsers and API clients read them.
#pragma once

#include <string>
#include <string_view>

#include "server/message.h"

namespace sluice {

// "event: NAME\ndata: ...\n\n"; each line of `data` becomes a data line. A name with a line break loses it.
std::string sse_event(std::string_view data, std::string_view name = {});

// ": text\n\n", which clients ignore.
std::string sse_comment(std::string_view text);

// Content type, no caching, and no buffering in a proxy.
Headers sse_headers();

}  // namespace sluice
