#include "cli/help.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>
#include <regex>
#include <sstream>

namespace sluice::cli {
namespace {

constexpr size_t kTextColumn = 26;

// "  --name VALUE       text that goes on\n                     here"
std::string entry(const std::string& name, const std::string& text, size_t width) {
  std::string out = "  " + name;
  size_t column = out.size();
  const auto to_text_column = [&] { out += std::string(kTextColumn - column, ' '), column = kTextColumn; };
  const auto next_line = [&] { out += '\n', column = 0, to_text_column(); };
  if (column + 2 > kTextColumn) next_line();
  else to_text_column();
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const bool first = column == kTextColumn;
    if (!first && column + 1 + word.size() > width) next_line();
    else if (!first) out += ' ', ++column;
    out += word, column += word.size();
  }
  return out + "\n";
}

std::string option_name(const OptionInfo& o) {
  if (o.by_position()) return o.value + (o.repeats ? "..." : "");
  const std::string indent = o.flags.front().starts_with("--") ? "    " : "";  // below the long names of those with a letter
  const std::string value = value_of(o);
  return indent + fmt::format("{}", fmt::join(o.flags, ", ")) + (value.empty() ? "" : " " + value);
}

std::string option_text(const OptionInfo& o) {
  const std::string notes = remarks(o);
  return notes.empty() ? o.text : o.text + " [" + notes + "]";
}

// "Options:" or what else the group is called, with the entries of those behind it.
template <class Items, class Entry>
std::string grouped(const Items& items, Entry&& entry_of) {
  std::string out, group;
  for (const auto& item : items) {
    const auto [title, line] = entry_of(item);
    if (line.empty()) continue;
    if (title != group) out += "\n" + title + ":\n";
    group = title;
    out += line;
  }
  return out;
}

const CLI::App* chosen(const CLI::App* app) {
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return app;
}

const CommandInfo& find(const CommandInfo& from, const CLI::App* app) {
  if (!app->get_parent()) return from;
  for (const CommandInfo& c : find(from, app->get_parent()).commands)
    if (c.path.back() == app->get_name()) return c;
  return from;
}

std::vector<std::string> flags_of(const CommandInfo& command) {
  std::vector<std::string> flags;
  for (const OptionInfo& o : command.options) flags.insert(flags.end(), o.flags.begin(), o.flags.end());
  return flags;
}

std::vector<std::string> names_of(const std::vector<CommandInfo>& commands) {
  std::vector<std::string> names;
  for (const CommandInfo& c : commands) names.push_back(c.path.back());
  return names;
}

std::string did_you_mean(const std::string& name) { return name.empty() ? "" : "; did you mean " + name + "?"; }

// A word that nothing takes.
std::string stray(const std::string& word, const CommandInfo& command, const CommandInfo& all) {
  const std::string flag = word.substr(0, word.find('='));
  if (!flag.starts_with('-')) {
    if (command.commands.empty()) return fmt::format("'{}' is one argument too many", word);
    return fmt::format("there is no command '{}'{}", word, did_you_mean(nearest(word, names_of(command.commands))));
  }
  for (const CommandInfo& below : command.commands)
    if (std::ranges::count(flags_of(below), flag) && &command == &all)
      return fmt::format("{} comes behind a command: {} {}", flag, below.title(), word);
  return fmt::format("there is no option {}{}", flag, did_you_mean(nearest(flag, flags_of(command))));
}

// CLI11's words in ours; what no pattern knows stays as it is.
std::string reworded(const std::string& message) {
  static const std::pair<std::regex, const char*> words[] = {
      {std::regex(R"(Could not convert: (\S+) = (.*))"), "$1: '$2' is no number, or one that is too large"},
      {std::regex(R"((\S+): Value (\S+) not in range (\S+) to (\S+))"), "$1: $2 is not from $3 to $4"},
      {std::regex(R"((\S+): Number less than 0: (.*))"), "$1: $2 is less than 0"},
      {std::regex(R"((\S+): Number less or equal to 0: (.*))"), "$1: $2 is not above 0"},
      {std::regex(R"((\S+): (.*) not in \{(.*)\})"), "$1: '$2' is none of $3"},
      {std::regex(R"((\S+): \d+ required .* missing)"), "$1 needs a value"},
      {std::regex(R"((\S+) excludes (\S+))"), "$1 and $2 do not go together"},
      {std::regex(R"((\S+) is required)"), "$1 is missing"},
      {std::regex(R"(INI was not able to parse (.*))"), "--config-file: there is no option $1"},
  };
  for (const auto& [pattern, ours] : words)
    if (std::regex_match(message, pattern)) return std::regex_replace(message, pattern, ours);
  return message;
}

}  // namespace

size_t help_width() {
  constexpr size_t kLeast = 60, kMost = 120, kElsewhere = 100;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kElsewhere;
  return std::clamp<size_t>(size.ws_col, kLeast, kMost);
}

std::string help_text(const CommandInfo& command, size_t width) {
  std::string out = command.title() + ": " + command.text + "\n\n";
  for (const std::string& line : synopses(command)) out += (out.ends_with("\n\n") ? "usage: " : "       ") + line + "\n";
  out += grouped(command.commands, [&](const CommandInfo& c) { return std::pair(c.group, entry(c.path.back(), c.text, width)); });
  for (const bool by_position : {true, false})
    out += grouped(command.options, [&](const OptionInfo& o) {
      const std::string line = o.by_position() == by_position ? entry(option_name(o), option_text(o), width) : "";
      return std::pair(by_position ? "Arguments" : o.group, line);
    });
  if (!command.commands.empty()) out += fmt::format("\n`{} COMMAND --help` says more of a command.\n", command.title());
  return out;
}

void set_help(CLI::App& app) {
  const CLI::App* root = &app;
  const auto print = [root](const CLI::App* a, std::string, CLI::AppFormatMode) {
    return help_text(find(describe(*root), chosen(a)), help_width());
  };
  const auto set = [&](const auto& self, CLI::App* a) -> void {
    a->formatter_fn(print);
    if (a->get_help_ptr()) a->get_help_ptr()->description("print this and end");
    for (CLI::App* sub : a->get_subcommands({})) self(self, sub);
  };
  set(set, &app);
}

std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const CommandInfo all = describe(app);
  const CLI::App* at = chosen(&app);
  for (const CLI::App* up = at; up; up = up->get_parent())
    if (!up->remaining().empty()) at = up;
  const CommandInfo& command = find(all, at);
  const std::vector<std::string> left = at->remaining();
  std::string what;
  if (!left.empty()) what = stray(left.front(), command, all);
  else if (command.path.size() == 1) what = fmt::format("a command is missing: {}", fmt::join(names_of(command.commands), ", "));
  else what = reworded(error.what());
  const std::string where =
      command.path.size() > 1 ? fmt::format("{}: ", fmt::join(command.path.begin() + 1, command.path.end(), " ")) : "";
  return fmt::format("{}{}; `{} --help` shows what there is", where, what, command.title());
}

std::string nearest(const std::string& word, const std::vector<std::string>& names) {
  std::string best;
  size_t least = 1 + word.size() / 3;  // edits forgiven
  for (const std::string& name : names) {
    std::vector<size_t> row(name.size() + 1);  // edits from the word so far to each beginning of the name
    std::iota(row.begin(), row.end(), size_t(0));
    for (size_t i = 0; i < word.size(); ++i) {
      size_t diagonal = row[0]++;
      for (size_t j = 0; j < name.size(); ++j) {
        const size_t replaced = diagonal + (word[i] != name[j]);
        diagonal = row[j + 1];
        row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
      }
    }
    if (row.back() <= least && (best.empty() || row.back() < least)) best = name, least = row.back();
  }
  return best;
}

}  // namespace sluice::cli
