// Pages for man(1): what the command line says of itself, with the texts in cli/manual/.
//
// A text is a file of the page's name ("sluice-bench-serve.txt"): sections under "# TITLE", paragraphs, lines indented by four for
// examples, "NAME" with a line ": what it is" below for lists, and `words` in bold. What all pages say is in common.txt.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cli/description.h"
#include "server/embedded.h"

namespace sluice {
std::span<const EmbeddedFile> manual_files();  // cli/manual/
}

namespace sluice::cli {

// "sluice-bench-serve".
std::string page_name(const CommandInfo& command);

// In roff; `all` is the whole command line.
std::string man_page(const CommandInfo& command, const CommandInfo& all);

// The sections of a text, in order: title and what is below it.
std::vector<std::pair<std::string, std::string>> sections_of(std::string_view text);

// The command and all below it.
std::vector<const CommandInfo*> with_all_below(const CommandInfo& command);

}  // namespace sluice::cli
