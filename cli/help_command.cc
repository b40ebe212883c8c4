// sluice help: help and man pages. sluice completion: what a shell reads to complete the command line.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "cli/command.h"
#include "cli/completion.h"
#include "cli/help.h"
#include "cli/man_page.h"

namespace sluice::cli {
namespace {

struct HelpOptions {
  std::vector<std::string> path;
  bool man = false;
  std::string man_pages;
};

Result<const CommandInfo*> find_command(const CommandInfo& all, const std::vector<std::string>& path) {
  const CommandInfo* at = &all;
  for (const std::string& word : path) {
    const auto found = std::ranges::find_if(at->commands, [&](const CommandInfo& c) { return c.path.back() == word; });
    if (found == at->commands.end())
      return invalid(fmt::format("help: {} has no command '{}'", at->title(), word), "`sluice help` lists them");
    at = &*found;
  }
  return at;
}

Status write_man_pages(const CommandInfo& all, const std::filesystem::path& folder) {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  for (const CommandInfo* c : with_all_below(all)) {
    const std::filesystem::path path = folder / (page_name(*c) + ".1");
    std::ofstream file(path, std::ios::binary);
    file << man_page(*c, all);
    if (!file.flush()) return {Code::kIo, path.string() + " cannot be written"};
  }
  return {};
}

Status help(const CommandInfo& all, const HelpOptions& o) {
  if (!o.man_pages.empty()) return write_man_pages(all, o.man_pages);
  SLUICE_ASSIGN_OR_RETURN(const CommandInfo* command, find_command(all, o.path));
  fmt::print("{}", o.man ? man_page(*command, all) : help_text(*command, help_width()));
  return {};
}

}  // namespace

void add_help(CLI::App& app, Command& command) {
  auto o = std::make_shared<HelpOptions>();
  CLI::App* sub = app.add_subcommand("help", "say what a command does and which options it has")->group("This program");
  sub->add_option("COMMAND", o->path, "the command, as `bench serve`; all of them if left out");
  auto* man = sub->add_flag("--man", o->man, "print its man page, for man -l");
  sub->add_option("--man-pages", o->man_pages, "write the pages of all commands into this folder")->type_name(kDir)->excludes(man);
  sub->callback([o, &app, &command] { command = [o, &app] { return exit_code(help(describe(app), *o)); }; });
}

void add_completion(CLI::App& app, Command& command) {
  const auto shell = std::make_shared<std::string>();
  CLI::App* sub = app.add_subcommand("completion", "print what a shell needs to complete this command line")->group("This program");
  sub->add_option("SHELL", *shell, "the shell that is to read it")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  sub->callback([shell, &app, &command] {
    command = [shell, &app] {
      const auto write = *shell == "bash" ? bash_completion : *shell == "zsh" ? zsh_completion : fish_completion;
      fmt::print("{}", write(describe(app)));
      return 0;
    };
  });
}

}  // namespace sluice::cli
