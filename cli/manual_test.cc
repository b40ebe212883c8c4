// Holds help, man pages and the texts in cli/manual/ to the options that there are.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>

#include "cli/app.h"
#include "cli/help.h"
#include "cli/man_page.h"

namespace sluice::cli {
namespace {

using Names = std::set<std::string>;

std::vector<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator i(text.begin(), text.end(), regex), end; i != end; ++i) found.push_back((*i)[1]);
  return found;
}

Names flags_of(const CommandInfo& command) {
  Names flags;
  for (const OptionInfo& o : command.options) flags.insert(o.flags.begin(), o.flags.end());
  return flags;
}

// Straight from CLI11, so that what describe() leaves out is noticed.
Names names_in(const CLI::App& app, const std::vector<std::string>& path) {
  const CLI::App* at = &app;
  for (size_t i = 1; i < path.size(); ++i) at = at->get_subcommand(path[i]);
  Names names;
  for (const CLI::Option* o : at->get_options()) {
    for (const std::string& name : o->get_lnames()) names.insert("--" + name);
    for (const std::string& name : o->get_snames()) names.insert("-" + name);
    if (o->get_positional()) names.insert(o->get_name(true, false));
  }
  return names;
}

class Manual : public ::testing::Test {
 protected:
  Command command_;
  const std::unique_ptr<CLI::App> app_ = make_app(command_);
  const CommandInfo all_ = describe(*app_);
  const std::vector<const CommandInfo*> commands_ = with_all_below(all_);

  std::string text(const CommandInfo& command) const {
    for (const EmbeddedFile& file : manual_files())
      if (file.name == page_name(command) + ".txt") return std::string(file.body);
    return {};
  }
};

TEST_F(Manual, EveryCommandHasATextAndNoOther) {
  Names wanted{"common.txt"}, there;
  for (const CommandInfo* c : commands_) wanted.insert(page_name(*c) + ".txt");
  for (const EmbeddedFile& file : manual_files()) there.emplace(file.name);
  EXPECT_EQ(there, wanted) << "a command's text is cli/manual/NAME.txt";
  for (const CommandInfo* c : commands_) {
    Names titles;
    for (const auto& [title, body] : sections_of(text(*c))) titles.insert(title);
    EXPECT_TRUE(titles.contains("DESCRIPTION") && titles.contains("EXAMPLES")) << page_name(*c);
  }
}

TEST_F(Manual, EverySectionIsOnThePage) {
  for (const CommandInfo* c : commands_)
    for (const auto& [title, body] : sections_of(text(*c)))
      EXPECT_NE(man_page(*c, all_).find("\n.SH " + title + "\n"), std::string::npos) << page_name(*c) << ": " << title;
}

TEST_F(Manual, APageHasAllOptionsAndNoOthers) {
  for (const CommandInfo* c : commands_) {
    const std::string page = man_page(*c, all_);
    // Tags: what stands below .TP, until the sections that are not about options.
    Names documented;
    const size_t end = std::min(page.find(".SH EXIT STATUS"), page.find(".SH OUTPUT"));
    for (std::string tag : matches(page.substr(0, end), "\\.TP\n([^\n]*)")) {
      if (tag.find("(1)") != std::string::npos) continue;  // a command
      tag = std::regex_replace(tag, std::regex(R"(\\-)"), "-");
      for (const std::string& name : matches(tag, R"(\\f[BI](-[^\\]+|[A-Z]+)(?:\.\.\.)?\\fR)"))
        if (name.starts_with('-') || tag.starts_with("\\fI")) documented.insert(name);
    }
    EXPECT_EQ(documented, names_in(*app_, c->path)) << page_name(*c);
    const std::string help = help_text(*c, 100);
    for (const std::string& name : documented) EXPECT_NE(help.find(name), std::string::npos) << page_name(*c) << ' ' << name;
  }
}

TEST_F(Manual, TextsNameOptionsThatThereAre) {
  for (const CommandInfo* c : commands_)
    for (const std::string& flag : matches(text(*c), "`(--?[a-z][a-z-]*)"))
      EXPECT_TRUE(flags_of(*c).contains(flag) || flag == "--help") << page_name(*c) << ' ' << flag;
}

TEST_F(Manual, EveryOptionHasAText) {
  for (const CommandInfo* c : commands_)
    for (const OptionInfo& o : c->options)
      EXPECT_GT(o.text.size(), 5u) << page_name(*c) << ' ' << (o.by_position() ? o.value : o.flags[0]);
}

TEST_F(Manual, ExamplesAreCommandLinesThatParse) {
  int examples = 0;
  for (const CommandInfo* c : commands_)
    for (const auto& [title, body] : sections_of(text(*c))) {
      if (title != "EXAMPLES") continue;
      for (const std::string& line : matches("\n" + body, "\n    (?:[^\n]*\\()?(sluice [^|<>)\n]*)")) {
        if (line.find("--config-file") != std::string::npos) continue;  // a file that the example makes
        Command command;
        const auto app = make_app(command);
        EXPECT_NO_THROW(app->parse(line, true)) << line;
        EXPECT_TRUE(command) << line;
        ++examples;
      }
    }
  EXPECT_GT(examples, 30);
}

TEST_F(Manual, VariablesAreOnThePage) {
  for (const CommandInfo* c : commands_)
    for (const OptionInfo& o : c->options) {
      if (o.variable.empty()) continue;
      EXPECT_NE(man_page(*c, all_).find("\n\\fB" + o.variable + "\\fR\n"), std::string::npos) << o.variable;
    }
}

TEST_F(Manual, HelpKeepsToItsWidth) {
  for (const CommandInfo* c : commands_)
    for (const size_t width : {60, 80, 120}) {
      const std::string help = help_text(*c, width);
      const size_t usage = help.find("\n\n"), entries = help.find("\n\n", usage + 1);
      ASSERT_NE(entries, std::string::npos);
      for (const std::string& line : matches(help.substr(entries), "([^\n]*)\n"))
        EXPECT_TRUE(line.size() <= width || line.find(' ', 26) == std::string::npos) << line;  // one word may be longer
    }
}

TEST(Nearest, ForgivesTyposAndNotMore) {
  const std::vector<std::string> names{"run", "serve", "score", "tokenize"};
  EXPECT_EQ(nearest("srve", names), "serve");
  EXPECT_EQ(nearest("rnu", names), "run");
  EXPECT_EQ(nearest("tokenise", names), "tokenize");
  EXPECT_EQ(nearest("quantize", names), "");
  EXPECT_EQ(nearest("frob", names), "");
}

}  // namespace
}  // namespace sluice::cli
