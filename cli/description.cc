#include "cli/description.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>

#include "core/impl.h"

namespace sluice::cli {
namespace {

constexpr double kUnlimited = 1 << 30;  // a bound that only keeps numbers within their type is not worth telling

std::string range_of(const std::string& lowest, const std::string& highest) {
  if (std::stod(highest) >= kUnlimited) return lowest + " or more";
  return lowest + " to " + highest;
}

// CLI11 says "TYPE:CHECK": a list {a,b}, a range "INT in [0 - 1024]", or a word.
void read_type(const std::string& type, OptionInfo& info) {
  static const std::regex range(R"(in \[(\S+) - (\S+)\])");
  const size_t colon = type.find(':');
  info.kind = type.substr(0, colon);
  if (info.kind == "INT" || info.kind == "UINT" || info.kind == "FLOAT") info.kind = "N";
  if (colon == std::string::npos) return;
  const std::string check = type.substr(colon + 1);
  std::smatch bounds;
  if (check.starts_with('{')) info.choices = CLI::detail::split(check.substr(1, check.size() - 2), ',');
  else if (check == "NONNEGATIVE") info.range = "0 or more";
  else if (check == "POSITIVE") info.range = "above 0";
  else if (std::regex_search(check, bounds, range)) info.range = range_of(bounds[1], bounds[2]);
}

std::vector<std::string> hints_of(const std::string& kind) {
  if (kind == kDevice) return {"cpu", "cuda", "cuda:0"};
  std::vector<std::string> names;
  if (kind == kOperator)
    for (const OpInfo& op : all_ops()) names.push_back(op.name);
  return names;
}

OptionInfo describe_option(const CLI::Option& o) {
  OptionInfo info{.preset = o.get_default_str(), .variable = o.get_envname(), .text = o.get_description(), .group = o.get_group()};
  for (const std::string& name : o.get_snames()) info.flags.push_back("-" + name);
  for (const std::string& name : o.get_lnames()) info.flags.push_back("--" + name);
  if (o.get_type_size() != 0) {
    read_type(o.get_type_name(), info);
    info.value = o.get_positional() ? o.get_name(true, false) : info.kind;
    info.hints = hints_of(info.kind);
    info.repeats = o.get_expected_max() >= CLI::detail::expected_max_vector_size;
  }
  for (const CLI::Option* other : o.get_excludes()) info.excludes.push_back(other->get_name());
  std::ranges::sort(info.excludes);  // CLI11 has them in no order
  info.required = o.get_required();
  return info;
}

CommandInfo describe_below(const CLI::App& app, std::vector<std::string> path) {
  CommandInfo info{.path = std::move(path), .text = app.get_description(), .group = app.get_group()};
  for (const std::string& group : app.get_groups())
    for (const CLI::Option* o : app.get_options([&](const CLI::Option* o) { return o->get_group() == group && !group.empty(); }))
      if (o != app.get_help_ptr()) info.options.push_back(describe_option(*o));
  if (const CLI::Option* help = app.get_help_ptr()) info.options.push_back(describe_option(*help));
  // What a command has in common with others comes behind its own.
  std::ranges::stable_partition(info.options, [](const OptionInfo& o) { return o.by_position() || o.group == "Options"; });
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App* a) { return !a->get_group().empty(); })) {
    std::vector<std::string> below = info.path;
    below.push_back(sub->get_name());
    info.commands.push_back(describe_below(*sub, std::move(below)));
  }
  return info;
}

}  // namespace

std::string CommandInfo::title(std::string_view between) const { return fmt::format("{}", fmt::join(path, between)); }

CommandInfo describe(const CLI::App& app) { return describe_below(app, {"sluice"}); }

std::string value_of(const OptionInfo& option) {
  constexpr size_t kLong = 20;
  const std::string all = fmt::format("{}", fmt::join(option.choices, "|"));
  return !option.by_position() && !all.empty() && all.size() <= kLong ? all : option.value;
}

std::string remarks(const OptionInfo& option) {
  std::vector<std::string> parts;
  if (!option.choices.empty() && value_of(option) == option.value)
    parts.push_back(fmt::format("{}", fmt::join(option.choices, ", ")));
  if (!option.range.empty()) parts.push_back(option.range);
  if (!option.preset.empty()) parts.push_back("default " + option.preset);
  if (option.required) parts.push_back("required");
  if (!option.excludes.empty()) parts.push_back(fmt::format("not with {}", fmt::join(option.excludes, ", ")));
  if (!option.variable.empty()) parts.push_back(option.variable);
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::vector<std::string> synopses(const CommandInfo& command) {
  std::vector<std::string> lines;
  std::string own = command.title() + " [OPTION...]";
  for (const OptionInfo& o : command.options) {
    if (o.required && !o.by_position()) own += " " + o.flags.back() + " " + o.value;
    if (!o.by_position()) continue;
    const std::string name = o.value + (o.repeats ? "..." : "");
    own += o.required ? " " + name : " [" + name + "]";
  }
  if (command.path.size() > 1 || command.commands.empty()) lines.push_back(own);
  if (command.path.size() == 1) lines.push_back(own + " COMMAND ...");
  else
    for (const CommandInfo& c : command.commands) lines.push_back(c.title() + " ...");
  return lines;
}

}  // namespace sluice::cli
