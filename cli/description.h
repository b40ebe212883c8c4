// The command line as data, read from the CLI11 app: help, man pages and completions are written from it and know nothing else.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::cli {

// What a value is, as far as a shell can complete it: an option's type_name() says so.
inline constexpr const char *kDir = "DIR", *kFile = "FILE", *kDevice = "DEVICE", *kOperator = "OPERATOR";

struct OptionInfo {
  std::vector<std::string> flags;    // "-p", "--prompt"; none for an argument that goes by position
  std::string value;                 // what stands for the value, "TEXT"; of such an argument its name; empty where there is none
  std::string kind;                  // kDir, kFile, ..., or any other type_name()
  std::vector<std::string> choices;  // all values, where they are listed
  std::vector<std::string> hints;    // some values, for completion
  std::string range;                 // "0 to 1024"
  std::string preset;                // the value if none is given
  std::string variable;              // SLUICE_...
  std::string text, group;
  std::vector<std::string> excludes;
  bool required = false, repeats = false;

  bool by_position() const { return flags.empty(); }
};

struct CommandInfo {
  std::vector<std::string> path;  // {"sluice", "bench", "serve"}
  std::string text, group;
  std::vector<OptionInfo> options;  // in the order of help, groups together
  std::vector<CommandInfo> commands;

  std::string title(std::string_view between = " ") const;  // "sluice bench serve"
};

CommandInfo describe(const CLI::App& app);

// "--dtype auto|bf16|fp32", with the value's name instead where it would be long.
std::string value_of(const OptionInfo& option);
// What is behind the text in brackets: "0 to 1024, default 0, SLUICE_THREADS".
std::string remarks(const OptionInfo& option);
// "sluice bench [OPTION...] [MODEL]" and, where there are commands, that of those.
std::vector<std::string> synopses(const CommandInfo& command);

}  // namespace sluice::cli
