// Completion for shells, written from the description of the command line.
#pragma once

#include <string>

#include "cli/description.h"

namespace sluice::cli {

// To be read by `source`, or put where the shell looks for a command's completion.
std::string bash_completion(const CommandInfo& all);
std::string zsh_completion(const CommandInfo& all);
std::string fish_completion(const CommandInfo& all);

}  // namespace sluice::cli
