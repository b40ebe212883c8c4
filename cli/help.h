// What --help prints, and one line for what is wrong with a command line.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/description.h"

namespace sluice::cli {

// Lines of at most `width` columns.
std::string help_text(const CommandInfo& command, size_t width);

// The terminal's columns within reason.
size_t help_width();

// Makes the app and all commands below it print help_text(), as wide as the terminal.
void set_help(CLI::App& app);

// "run: there is no option --promt: did you mean --prompt?; `sluice run --help` shows what there is"
std::string explain(const CLI::App& app, const CLI::ParseError& error);

// The name nearest to a word with a typo; empty if none is near.
std::string nearest(const std::string& word, const std::vector<std::string>& names);

}  // namespace sluice::cli
