// A place in a list of tokens, and the questions that a parser asks there.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/quote.h"
#include "text/jinja/budget.h"
#include "text/jinja/lex.h"

namespace sluice::jinja {

class Cursor {
 public:
  explicit Cursor(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  // The present token, and on to the next; the end stays.
  const Token& take() {
    const Token& token = tokens_[at_];
    at_ = std::min(at_ + 1, tokens_.size() - 1);
    return token;
  }
  bool is_op(std::string_view op) const { return now().kind == TokenKind::kOperator && now().text == op; }
  bool is_name(std::string_view name) const { return now().kind == TokenKind::kName && now().text == name; }
  bool is_name_of(std::initializer_list<std::string_view> names) const {
    return std::any_of(names.begin(), names.end(), [&](auto n) { return is_name(n); });
  }
  bool skip_if(bool condition) {
    if (condition) take();
    return condition;
  }
  bool skip_op(std::string_view op) { return skip_if(is_op(op)); }
  bool skip_name(std::string_view name) { return skip_if(is_name(name)); }

  std::string shown() const {
    switch (now().kind) {
      case TokenKind::kEnd:
        return "the end of the template";
      case TokenKind::kText:
        return "text";
      default:
        return quote(now().text, 60);
    }
  }
  [[noreturn]] void unexpected(std::string_view wanted) const { fail(fmt::format("unexpected {}, expected {}", shown(), wanted)); }

  void expect_op(std::string_view op) {
    if (!skip_op(op)) unexpected(fmt::format("'{}'", op));
  }
  void expect(TokenKind kind, std::string_view wanted) {
    if (now().kind != kind) unexpected(wanted);
    take();
  }
  std::string expect_name() {
    if (now().kind != TokenKind::kName) unexpected("a name");
    return take().text;
  }

 private:
  const std::vector<Token> tokens_;  // the last is kEnd
  size_t at_ = 0;
};

}  // namespace sluice::jinja
