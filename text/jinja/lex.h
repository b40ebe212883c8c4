// Template source to tokens, as Jinja 3.1 does with trim_blocks and lstrip_blocks, which chat templates are written for.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace sluice::jinja {

enum class TokenKind {
  kText,        // between tags, with white space already removed as the tags ask
  kPrintBegin,  // {{
  kPrintEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,  // decoded
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  int line;
  std::string text;
};

// Fails with kInvalidArgument; the message begins with "line N: ".
Result<std::vector<Token>> lex(const std::string& source);

}  // namespace sluice::jinja
