// The whole command line.
#pragma once

#include <memory>

#include "cli/command.h"

namespace sluice::cli {

// Parsing leaves what to do in `command`, which must outlive the app.
std::unique_ptr<CLI::App> make_app(Command& command);

}  // namespace sluice::cli
