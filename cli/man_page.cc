#include "cli/man_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "base/environment_variables.h"

namespace sluice::cli {
namespace {

// Text that roff takes literally.
std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\') out += "\\e";
    else if (c == '-') out += "\\-";
    else if (c == '\'') out += "\\(aq";
    else if (c == '`') out += "\\(ga";
    else if (c == '^') out += "\\(ha";
    else if (c == '~') out += "\\(ti";
    else if (c == '.' && (out.empty() || out.back() == '\n')) out += "\\&.";  // no request
    else out += c;
  }
  return out;
}

std::string bold(std::string_view text) { return "\\fB" + escape(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + escape(text) + "\\fR"; }

// `words` in bold.
std::string inline_text(std::string_view text) {
  std::string out;
  for (bool code = false; !text.empty(); code = !code) {
    const size_t end = std::min(text.find('`'), text.size());
    out += code ? bold(text.substr(0, end)) : escape(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// In lines of at most 80 characters, none of which begins with a point: that would be a request.
std::string filled(const std::string& text) {
  constexpr size_t kWidth = 80;
  std::istringstream words(text);
  std::string out;
  size_t column = 0;
  for (std::string word; words >> word;) {
    if (column > 0 && column + 1 + word.size() > kWidth) out += '\n', column = 0;
    else if (column > 0) out += ' ', ++column;
    if (column == 0 && word.starts_with('.')) word = "\\&" + word;
    out += word, column += word.size();
  }
  return out;
}

std::string tagged(const std::string& tag, const std::string& text) { return ".TP\n" + tag + "\n" + filled(text) + "\n"; }

// The blocks of a section's text.
std::string body(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::string out, paragraph;
  bool example = false;
  const auto space = [&] { return out.empty() ? "" : std::string(".PP\n"); };  // the section's title brings the first
  const auto end_paragraph = [&] {
    if (!paragraph.empty()) out += space() + filled(inline_text(paragraph)) + "\n";
    paragraph.clear();
  };
  const auto end_example = [&] {
    if (example) out += ".EE\n.RE\n";
    example = false;
  };
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("    ")) {
      end_paragraph();
      if (!example) out += space() + ".RS 4\n.EX\n";
      example = true;
      out += escape(line.substr(4)) + "\n";
      continue;
    }
    end_example();
    if (line.starts_with(": ")) out += tagged(inline_text(paragraph), inline_text(line.substr(2))), paragraph.clear();
    else if (line.empty()) end_paragraph();
    else paragraph += (paragraph.empty() ? "" : "\n") + line;
  }
  end_paragraph();
  end_example();
  return out;
}

std::string option_entry(const OptionInfo& o) {
  std::string tag;
  for (const std::string& flag : o.flags) tag += (tag.empty() ? "" : ", ") + bold(flag);
  if (const std::string value = value_of(o); !value.empty())
    tag +=
        (tag.empty() ? "" : " ") + (value == o.value ? italic(value + (o.by_position() && o.repeats ? "..." : "")) : bold(value));
  const std::string notes = remarks(o);
  return tagged(tag, inline_text(o.text) + (notes.empty() ? "" : " [" + escape(notes) + "]"));
}

std::string options_section(const CommandInfo& command) {
  std::string out, group;
  const auto section = [&](const std::string& title) {
    out += (out.empty() ? ".SH OPTIONS\n" : "") + (title == "Options" ? "" : ".SS " + escape(title) + "\n");
  };
  for (const OptionInfo& o : command.options)
    if (o.by_position()) out += (out.empty() ? ".SH ARGUMENTS\n" : "") + option_entry(o);
  std::string arguments = std::move(out);
  out.clear();
  for (const OptionInfo& o : command.options) {
    if (o.by_position()) continue;
    if (o.group != group) section(o.group);
    group = o.group;
    out += option_entry(o);
  }
  return arguments + out;
}

std::string commands_section(const CommandInfo& command) {
  std::string out;
  for (const CommandInfo& c : command.commands) out += tagged(bold(page_name(c)) + "(1)", inline_text(c.text) + ".");
  return out.empty() ? "" : ".SH COMMANDS\n" + out;
}

// Those that are options' too, of this page or of the pages below it, and those that stand alone.
std::string environment_section(const CommandInfo& command) {
  std::map<std::string, std::string> flags;
  for (const CommandInfo* c : with_all_below(command))
    for (const OptionInfo& o : c->options)
      if (!o.variable.empty()) flags[o.variable] = o.by_position() ? italic(o.value) : bold(o.flags.back());
  std::string out = ".SH ENVIRONMENT\n";
  for (const auto& [variable, flag] : flags) out += tagged(bold(variable), "the same as " + flag + ", which goes before it.");
  for (const EnvironmentVariable& v : environment_variables())
    out += tagged(bold(v.name) + "=" + italic(v.value), inline_text(v.text));
  return out;
}

std::string see_also(const CommandInfo& command, const CommandInfo& all) {
  std::vector<std::string> pages;
  for (const CommandInfo* c : with_all_below(all))
    if (c != &command) pages.push_back(bold(page_name(*c)) + "(1)");
  return fmt::format(".SH SEE ALSO\n{}\n", fmt::join(pages, ",\n"));
}

std::string text_named(const std::string& name) {
  for (const EmbeddedFile& file : manual_files())
    if (file.name == name) return std::string(file.body);
  return {};
}

}  // namespace

std::string page_name(const CommandInfo& command) { return command.title("-"); }

std::vector<const CommandInfo*> with_all_below(const CommandInfo& command) {
  std::vector<const CommandInfo*> all{&command};
  for (const CommandInfo& c : command.commands)
    for (const CommandInfo* below : with_all_below(c)) all.push_back(below);
  return all;
}

std::vector<std::pair<std::string, std::string>> sections_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> sections;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# ")) sections.emplace_back(line.substr(2), "");
    else if (!sections.empty()) sections.back().second += line + "\n";
  }
  return sections;
}

std::string man_page(const CommandInfo& command, const CommandInfo& all) {
  const std::string name = page_name(command);
  std::string capitals = name;
  std::ranges::transform(capitals, capitals.begin(), ::toupper);
  std::string out =
      fmt::format(".TH {} 1 {} \"sluice {}\" \"User Commands\"\n", escape(capitals), SLUICE_RELEASE_DATE, SLUICE_VERSION);
  out += ".SH NAME\n" + filled(escape(name) + " \\- " + inline_text(command.text)) + "\n.SH SYNOPSIS\n.nf\n";
  for (const std::string& line : synopses(command)) {
    const size_t name_end = std::min(line.find(" ["), line.size());
    out += bold(line.substr(0, name_end)) + escape(line.substr(name_end)) + "\n";
  }
  out += ".fi\n";
  // The command's own sections go before those of the same title that all pages have.
  const auto own = sections_of(text_named(name + ".txt")), common = sections_of(text_named("common.txt"));
  const auto take = [&](const std::string& wanted) {
    for (const auto* sections : {&own, &common})
      for (const auto& [heading, text] : *sections)
        if (heading == wanted) return ".SH " + heading + "\n" + body(text);
    return std::string();
  };
  out += take("DESCRIPTION") + commands_section(command) + options_section(command) + take("OUTPUT") + take("EXIT STATUS");
  out += environment_section(command) + take("FILES") + take("EXAMPLES");
  return out + see_also(command, all);
}

}  // namespace sluice::cli
