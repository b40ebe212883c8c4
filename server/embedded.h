// Files of the source that are constants of the program, as they were when it was built (cmake/embed.cmake).
#pragma once

#include <span>
#include <string_view>

namespace sluice {

struct EmbeddedFile {
  std::string_view name;  // "index.html"
  std::string_view etag;  // with its quotes; follows the content alone
  std::string_view body;
};

std::span<const EmbeddedFile> web_files();      // server/web/
std::span<const EmbeddedFile> openapi_files();  // server/openapi/

}  // namespace sluice
