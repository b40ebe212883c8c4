#include "cli/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/man_page.h"

namespace sluice::cli {
namespace {

std::string joined(const std::vector<std::string>& words, std::string_view between = " ") {
  return fmt::format("{}", fmt::join(words, between));
}

// In single quotes, for any of the shells: fish too knows \' within them, but not the others' way out.
std::string single_quoted(std::string_view text, std::string_view quote = "'\\''") {
  std::string out = "'";
  for (const char c : text)
    if (c == '\'') out += quote;
    else out += c;
  return out + "'";
}

// Descriptions in a list are cut at their first semicolon: the rest is for help.
std::string brief(const std::string& text) { return text.substr(0, text.find(';')); }

const std::vector<std::string>& values_of(const OptionInfo& o) { return o.choices.empty() ? o.hints : o.choices; }

std::vector<std::string> names_below(const CommandInfo& command) {
  std::vector<std::string> names;
  for (const CommandInfo& c : command.commands) names.push_back(c.path.back());
  return names;
}

// Flags, or those that a value follows.
std::vector<std::string> flags_of(const CommandInfo& command, bool with_value_only) {
  std::vector<std::string> flags;
  for (const OptionInfo& o : command.options)
    if (!with_value_only || !o.value.empty()) flags.insert(flags.end(), o.flags.begin(), o.flags.end());
  return flags;
}

// --- bash

constexpr const char* kBash = R"(
_sluice() {
  # Readline cuts words at : and =.
  local word words=() before=
  for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
    if [[ ${#words[@]} -gt 0 && ( $word == [:=] || $before == [:=] ) ]]; then words[-1]+=$word
    else words+=("$word"); fi
    before=$word
  done
  # Which command stands there, how many of its arguments, and whether an option waits for its value.
  local command=sluice position=1 option= commands options valued
  _sluice_facts "$command"
  for word in "${words[@]:1:${#words[@]}-2}"; do
    if [[ $option ]]; then option=
    elif [[ " $valued " == *" $word "* ]]; then option=$word
    elif [[ " $commands " == *" $word "* ]]; then command+=" $word" position=1; _sluice_facts "$command"
    elif [[ $word != -* ]]; then position=$((position + 1)); fi
  done
  local current=${words[-1]} values= kind=
  if [[ ! $option && $current == --*=* ]]; then option=${current%%=*} current=${current#*=}; fi
  if [[ $option ]]; then _sluice_values "$command $option"
  elif [[ $current == -* ]]; then values=$options
  else _sluice_values "$command $position"; values+=" $commands"; fi
  COMPREPLY=($(compgen -W "$values" -- "$current"))
  if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then COMPREPLY=("${COMPREPLY[@]#"${current%:*}:"}"); fi
  case $kind in
    FILE) compopt -o default ;;
    DIR) compopt -o dirnames ;;
  esac
}
complete -F _sluice sluice
)";

// `key) what ;;` for whatever completes.
std::string bash_values(const std::string& key, const OptionInfo& o) {
  if (const auto& values = values_of(o); !values.empty()) return fmt::format("    '{}') values='{}' ;;\n", key, joined(values));
  if (o.kind == kFile || o.kind == kDir) return fmt::format("    '{}') kind={} ;;\n", key, o.kind);
  return {};
}

// --- zsh

// Brackets and colons end a part of what _arguments reads.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

// ":what:how to complete it"
std::string zsh_action(const OptionInfo& o) {
  const std::string how = !values_of(o).empty() ? "(" + joined(values_of(o)) + ")"
                          : o.kind == kFile     ? "_files"
                          : o.kind == kDir      ? "_files -/"
                                                : " ";
  return ":" + zsh_text(o.value) + ":" + (values_of(o).empty() ? how : zsh_text(how));
}

std::string zsh_option(const OptionInfo& o) {
  std::vector<std::string> others = o.flags, forms;
  others.insert(others.end(), o.excludes.begin(), o.excludes.end());
  std::string out;
  for (const std::string& flag : o.flags) {
    const std::string form = o.value.empty() ? flag : flag + (flag.starts_with("--") ? "" : "+");
    const std::string front = o.repeats ? "*" : "(" + joined(others) + ")";
    out += "    " + single_quoted(front + form + "[" + zsh_text(brief(o.text)) + "]" + (o.value.empty() ? "" : zsh_action(o))) +
           " \\\n";
  }
  return out;
}

// A command's function; those with commands below dispatch on the first word.
std::string zsh_function(const CommandInfo& command) {
  std::string out = fmt::format(
      "_{}() {{\n  local curcontext=$curcontext state line\n  typeset -A opt_args\n  _arguments -C -s \\\n", command.title("_"));
  for (const OptionInfo& o : command.options)
    if (!o.by_position()) out += zsh_option(o);
  std::string arguments;
  for (int n = 1; const OptionInfo& o : command.options)
    if (o.by_position()) arguments += "    " + single_quoted((o.repeats ? "*" : std::to_string(n++)) + zsh_action(o)) + " \\\n";
  if (command.commands.empty()) return out + arguments + "    && return\n  return 1\n}\n\n";
  out += "    '1: :->first' '*:: :->rest' && return\n  case $state in\n    first)\n      local -a commands=(\n";
  for (const CommandInfo& c : command.commands)
    out += "        " + single_quoted(c.path.back() + ":" + zsh_text(brief(c.text))) + "\n";
  out += "      )\n      _describe -t commands command commands && return\n";
  if (std::ranges::any_of(command.options, [](const OptionInfo& o) { return o.by_position() && o.kind == kDir; }))
    out += "      _files -/ && return\n";
  out += "      ;;\n    rest)\n      case $line[1] in\n";
  for (const CommandInfo& c : command.commands) out += fmt::format("        {}) _{} && return ;;\n", c.path.back(), c.title("_"));
  return out + "      esac\n      ;;\n  esac\n  return 1\n}\n\n";
}

// --- fish

constexpr const char* kFish = R"(
function __sluice_at
    set -l command (__sluice_command)
    test "$command" = "$argv[1]"
end

complete -c sluice -f
)";

std::string fish_path(const CommandInfo& command) {
  return fmt::format("{}", fmt::join(command.path.begin() + 1, command.path.end(), " "));
}

std::string fish_option(const std::string& condition, const OptionInfo& o) {
  std::string out = condition;
  for (const std::string& flag : o.flags) out += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
  if (!o.by_position()) out += " -d " + single_quoted(brief(o.text), "\\'");
  if (o.value.empty()) return out + "\n";
  if (!values_of(o).empty()) return out + " -x -a " + single_quoted(joined(values_of(o))) + "\n";
  if (o.kind == kFile) return out + " -r -F\n";
  if (o.kind == kDir) return out + " -x -a '(__fish_complete_directories (commandline -ct))'\n";
  return o.by_position() ? "" : out + " -x\n";
}

}  // namespace

std::string bash_completion(const CommandInfo& all) {
  std::string facts, values;
  for (const CommandInfo* c : with_all_below(all)) {
    facts += fmt::format("    '{}') commands='{}' options='{}' valued='{}' ;;\n", c->title(), joined(names_below(*c)),
                         joined(flags_of(*c, false)), joined(flags_of(*c, true)));
    int position = 1;
    for (const OptionInfo& o : c->options) {
      if (o.by_position())
        values +=
            bash_values(fmt::format("{} {}{}", c->title(), o.repeats ? "'*'" : "", o.repeats ? "" : std::to_string(position++)), o);
      for (const std::string& flag : o.flags) values += bash_values(c->title() + " " + flag, o);
    }
  }
  return "# Written by `sluice completion bash`.\n\n_sluice_facts() {\n  case $1 in\n" + facts +
         "  esac\n}\n\n_sluice_values() {\n  case $1 in\n" + values + "  esac\n}\n" + kBash;
}

std::string zsh_completion(const CommandInfo& all) {
  std::string functions;
  for (const CommandInfo* c : with_all_below(all)) functions += zsh_function(*c);
  // Read by the shell's own loader it is the function's body; by `source` it makes itself known.
  return "#compdef sluice\n# Written by `sluice completion zsh`.\n\n" + functions +
         "if [[ $funcstack[1] == _sluice ]]; then\n  _sluice \"$@\"\nelse\n  compdef _sluice sluice\nfi\n";
}

std::string fish_completion(const CommandInfo& all) {
  std::vector<std::string> below, valued;
  std::string lines;
  for (const CommandInfo* c : with_all_below(all)) {
    const std::string path = fish_path(*c),
                      condition = "complete -c sluice -n " + single_quoted("__sluice_at '" + path + "'", "\\'");
    for (const std::string& flag : flags_of(*c, true)) valued.push_back(single_quoted(path + " " + flag));
    for (const CommandInfo& sub : c->commands) {
      below.push_back(single_quoted(path + " " + sub.path.back()));
      lines += condition + " -a " + sub.path.back() + " -d " + single_quoted(brief(sub.text), "\\'") + "\n";
    }
    for (const OptionInfo& o : c->options) lines += fish_option(condition, o);
  }
  return "# Written by `sluice completion fish`.\n\n# The command in front of the cursor: \"bench serve\".\nfunction "
         "__sluice_command\n"
         "    set -l path ''\n    set -l value 0\n    for word in (commandline -opc)[2..-1]\n        if test $value = 1\n"
         "            set value 0\n            continue\n        end\n        switch \"$path $word\"\n            case " +
         joined(below) + "\n                set path (string trim \"$path $word\")\n            case " + joined(valued) +
         "\n                set value 1\n        end\n    end\n    echo $path\nend\n" + kFish + lines;
}

}  // namespace sluice::cli
