// Text from a file or a request, made safe to show: quoted, one line, printable ASCII, cut short.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// 'name'; other bytes as \xNN; after `limit` bytes "..." follows the closing quote.
std::string quote(std::string_view text, size_t limit = 120);

}  // namespace sluice
