// The files of server/web/, as they were when the program was built (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace sluice {

struct WebFile {
  std::string_view name;  // "index.html"
  std::string_view etag;  // with its quotes; follows the content alone
  std::string_view body;
};

std::span<const WebFile> web_files();

}  // namespace sluice
