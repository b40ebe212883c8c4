// Tokens to a syntax tree.
#pragma once

#include <string>

#include "text/jinja/ast.h"

namespace sluice::jinja {

// Filters and tests are looked up here: an unknown one is an error of the template, not of a rendering.
// Fails with kInvalidArgument; the message begins with "line N: ".
Result<Program> parse(const std::string& source, const Limits& limits = {});

}  // namespace sluice::jinja
