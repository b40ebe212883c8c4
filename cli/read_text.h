// Texts that people give by a file's name.
#pragma once

#include <string>

#include "base/status.h"

namespace sluice::cli {

// All of a file, which may be a pipe, or of standard input where the name is "-".
Result<std::string> read_text(const std::string& path);

}  // namespace sluice::cli
