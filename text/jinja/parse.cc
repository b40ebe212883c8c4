#include "text/jinja/parse.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "text/jinja/cursor.h"
#include "text/jinja/filters.h"
#include "text/jinja/tests.h"

namespace sluice::jinja {
namespace {

class Parser : private Cursor {
 public:
  Parser(std::vector<Token> tokens, int max_depth) : Cursor(std::move(tokens)), max_depth_(max_depth) {}

  Program run() {
    program_.body = parse_block({});
    return std::move(program_);
  }
  int line() const { return now().line; }

 private:
  // ---- nodes

  template <class T>
  const Expr* expr(int line, T node) {
    program_.exprs.push_back(std::make_unique<const Expr>(Expr{line, std::move(node)}));
    return program_.exprs.back().get();
  }
  template <class T>
  const Stmt* stmt(int line, T node) {
    program_.stmts.push_back(std::make_unique<const Stmt>(Stmt{line, std::move(node)}));
    return program_.stmts.back().get();
  }
  static TextRef literal(std::string s) { return std::make_shared<const Text>(nullptr, std::move(s), Marks::all(true)); }

  NameId intern(const std::string& name) {
    const auto found = std::find(program_.names.begin(), program_.names.end(), name);
    if (found != program_.names.end()) return static_cast<NameId>(found - program_.names.begin());
    program_.names.push_back(name);
    return static_cast<NameId>(program_.names.size() - 1);
  }

  // Counts the nesting of brackets, operators that nest to the right, and blocks.
  class Level {
   public:
    explicit Level(Parser& p) : parser_(p) {
      if (++parser_.depth_ > parser_.max_depth_) exhausted(fmt::format("nested more than {} deep", parser_.max_depth_));
    }
    ~Level() { --parser_.depth_; }

   private:
    Parser& parser_;
  };

  // ---- expressions, from the loosest operator to the tightest

  const Expr* parse_expression(bool with_condition = true) {
    const Level level(*this);
    return with_condition ? parse_condition() : parse_logic(true);
  }

  const Expr* parse_condition() {
    const int line = now().line;
    const Expr* yes = parse_logic(true);
    while (skip_name("if")) {
      const Expr* test = parse_logic(true);
      const Expr* no = skip_name("else") ? parse_expression() : nullptr;
      yes = expr(line, ConditionExpr{test, yes, no});
    }
    return yes;
  }

  const Expr* parse_logic(bool is_or) {
    const int line = now().line;
    std::vector<const Expr*> parts;
    do {
      parts.push_back(is_or ? parse_logic(false) : parse_not());
    } while (skip_name(is_or ? "or" : "and"));
    return parts.size() == 1 ? parts[0] : expr(line, LogicExpr{is_or, std::move(parts)});
  }

  const Expr* parse_not() {
    const int line = now().line;
    if (!skip_name("not")) return parse_compare();
    const Level level(*this);
    return expr(line, UnaryExpr{UnaryOp::kNot, parse_not()});
  }

  std::optional<CompareOp> skip_compare_op() {
    static constexpr std::pair<std::string_view, CompareOp> kOps[] = {{"==", CompareOp::kEq}, {"!=", CompareOp::kNe},
                                                                      {"<", CompareOp::kLt},  {"<=", CompareOp::kLe},
                                                                      {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
    for (const auto& [text, op] : kOps) {
      if (skip_op(text)) return op;
    }
    if (skip_name("in")) return CompareOp::kIn;
    if (is_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
      take();
      take();
      return CompareOp::kNotIn;
    }
    return std::nullopt;
  }

  const Expr* parse_compare() {
    const int line = now().line;
    const Expr* first = parse_sum();
    std::vector<std::pair<CompareOp, const Expr*>> rest;
    while (const auto op = skip_compare_op()) rest.emplace_back(*op, parse_sum());
    return rest.empty() ? first : expr(line, CompareExpr{first, std::move(rest)});
  }

  // One level of operators that group from the left.
  template <class Operand>
  const Expr* parse_left(std::initializer_list<std::pair<std::string_view, BinaryOp>> ops, Operand operand) {
    const int line = now().line;
    const Expr* first = operand();
    std::vector<std::pair<BinaryOp, const Expr*>> rest;
    for (bool found = true; found;) {
      found = false;
      for (const auto& [text, op] : ops) {
        if (!skip_op(text)) continue;
        rest.emplace_back(op, operand());
        found = true;
        break;
      }
    }
    return rest.empty() ? first : expr(line, BinaryExpr{first, std::move(rest)});
  }

  const Expr* parse_sum() {
    return parse_left({{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSub}}, [&] { return parse_concat(); });
  }

  const Expr* parse_concat() {
    const int line = now().line;
    std::vector<const Expr*> parts;
    do {
      parts.push_back(parse_product());
    } while (skip_op("~"));
    return parts.size() == 1 ? parts[0] : expr(line, ConcatExpr{std::move(parts)});
  }

  const Expr* parse_product() {
    return parse_left({{"*", BinaryOp::kMul}, {"/", BinaryOp::kDiv}, {"//", BinaryOp::kFloorDiv}, {"%", BinaryOp::kMod}}, [&] {
      return parse_left({{"**", BinaryOp::kPow}}, [&] { return parse_unary(true); });
    });
  }

  const Expr* parse_unary(bool with_filter) {
    const int line = now().line;
    const Expr* e;
    if (is_op("-") || is_op("+")) {
      const Level level(*this);
      const UnaryOp op = take().text == "-" ? UnaryOp::kMinus : UnaryOp::kPlus;
      e = expr(line, UnaryExpr{op, parse_unary(false)});
    } else {
      e = parse_primary();
    }
    e = parse_postfix(e);
    return with_filter ? parse_filters(e) : e;
  }

  const Expr* parse_primary() {
    const Token& token = now();
    switch (token.kind) {
      case TokenKind::kName:
        take();
        return parse_name(token);
      case TokenKind::kString:
        return parse_string();
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        take();
        return parse_number(token);
      case TokenKind::kOperator:
        if (skip_op("(")) {
          const Expr* inner = parse_tuple(true, true, {});
          expect_op(")");
          return inner;
        }
        if (skip_op("[")) return parse_list();
        if (skip_op("{")) return parse_dict();
        [[fallthrough]];
      default:
        unexpected("an expression");
    }
  }

  const Expr* parse_name(const Token& token) {
    const std::string& name = token.text;
    if (name == "true" || name == "True") return expr(token.line, ConstExpr{true});
    if (name == "false" || name == "False") return expr(token.line, ConstExpr{false});
    if (name == "none" || name == "None") return expr(token.line, ConstExpr{None{}});
    const NameId id = intern(name);
    if (macro_) {
      if (name == "varargs") macro_->varargs = id;
      if (name == "kwargs") macro_->kwargs = id;
      if (name == "caller") macro_->caller = id;
    }
    return expr(token.line, NameExpr{id});
  }

  const Expr* parse_string() {
    const int line = now().line;
    std::string s;
    while (now().kind == TokenKind::kString) s += take().text;  // neighbours are one string
    return expr(line, ConstExpr{literal(std::move(s))});
  }

  const Expr* parse_number(const Token& token) {
    const char *begin = token.text.data(), *end = begin + token.text.size();
    if (token.kind == TokenKind::kFloat) {
      double d;
      if (std::from_chars(begin, end, d).ec != std::errc()) fail(fmt::format("the number {} is out of range", token.text));
      return expr(token.line, ConstExpr{d});
    }
    int64_t i;
    if (std::from_chars(begin, end, i).ec != std::errc()) fail(fmt::format("the integer {} does not fit in 64 bits", token.text));
    return expr(token.line, ConstExpr{i});
  }

  const Expr* parse_list() {
    const int line = now().line;
    std::vector<const Expr*> items;
    while (!is_op("]")) {
      items.push_back(parse_expression());
      if (!skip_op(",")) break;
    }
    expect_op("]");
    return expr(line, SequenceExpr{SequenceKind::kList, std::move(items)});
  }

  const Expr* parse_dict() {
    const int line = now().line;
    std::vector<std::pair<const Expr*, const Expr*>> items;
    while (!is_op("}")) {
      const Expr* key = parse_expression();
      expect_op(":");
      items.emplace_back(key, parse_expression());
      if (!skip_op(",")) break;
    }
    expect_op("}");
    return expr(line, DictExpr{std::move(items)});
  }

  bool at_tuple_end(std::initializer_list<std::string_view> end_names) const {
    return now().kind == TokenKind::kBlockEnd || now().kind == TokenKind::kPrintEnd || is_op(")") || is_name_of(end_names);
  }

  // One expression, or a tuple where there is a comma. Only brackets may be empty.
  const Expr* parse_tuple(bool with_condition, bool in_brackets, std::initializer_list<std::string_view> end_names) {
    const int line = now().line;
    std::vector<const Expr*> items;
    bool comma = false;
    while (!at_tuple_end(end_names)) {
      items.push_back(parse_expression(with_condition));
      if (!skip_op(",")) break;
      comma = true;
    }
    if (items.size() == 1 && !comma) return items[0];
    if (items.empty() && !in_brackets) unexpected("an expression");
    return expr(line, SequenceExpr{SequenceKind::kTuple, std::move(items)});
  }

  const Expr* parse_postfix(const Expr* e) {
    for (;;) {
      if (skip_op(".")) e = parse_attribute(e);
      else if (skip_op("[")) e = parse_subscript(e);
      else if (is_op("(")) e = parse_call(e);
      else return e;
    }
  }

  const Expr* parse_attribute(const Expr* object) {
    const Token& token = now();
    if (token.kind == TokenKind::kInteger) {
      take();
      return expr(token.line, ItemExpr{object, parse_number(token)});
    }
    return expr(token.line, AttributeExpr{object, literal(expect_name())});
  }

  const Expr* parse_subscript(const Expr* object) {
    const int line = now().line;
    const auto part = [&]() -> const Expr* { return is_op(":") || is_op("]") ? nullptr : parse_expression(); };
    const Expr* begin = part();
    if (skip_op(":")) {
      const Expr* end = part();
      const Expr* step = skip_op(":") ? part() : nullptr;
      expect_op("]");
      return expr(line, SliceExpr{object, begin, end, step});
    }
    if (!begin) unexpected("an expression");
    expect_op("]");
    return expr(line, ItemExpr{object, begin});
  }

  std::vector<Argument> parse_arguments() {
    expect_op("(");
    std::vector<Argument> arguments;
    while (!is_op(")")) {
      const bool named = now().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator && ahead().text == "=";
      if (!named && !arguments.empty() && !arguments.back().name.empty()) fail("a positional argument follows a named one");
      std::string name = named ? expect_name() : "";
      skip_if(named);
      arguments.push_back({std::move(name), parse_expression()});
      if (!skip_op(",")) break;
    }
    expect_op(")");
    return arguments;
  }

  const Expr* parse_call(const Expr* callee) {
    const int line = now().line;
    return expr(line, CallExpr{callee, parse_arguments()});
  }

  // What may follow a value and its attributes: filters, tests, calls of their results.
  const Expr* parse_filters(const Expr* e) {
    for (;;) {
      if (skip_op("|")) e = parse_filter(e);
      else if (skip_name("is")) e = parse_test(e);
      else if (is_op("(")) e = parse_call(e);
      else return e;
    }
  }

  const Expr* parse_filter(const Expr* input) {
    const int line = now().line;
    const std::string name = expect_name();
    const FilterSpec* filter = find_filter(name);
    if (!filter) fail(fmt::format("no filter is named '{}'", name));
    return expr(line, FilterExpr{input, filter, is_op("(") ? parse_arguments() : std::vector<Argument>()});
  }

  const Expr* parse_test(const Expr* input) {
    const int line = now().line;
    const bool negated = skip_name("not");
    const std::string name = expect_name();
    const TestSpec* test = find_test(name);
    if (!test) fail(fmt::format("no test is named '{}'", name));
    std::vector<Argument> arguments;
    if (is_op("(")) arguments = parse_arguments();
    else if (begins_argument()) arguments.push_back({"", parse_postfix(parse_primary())});
    return expr(line, TestExpr{input, test, std::move(arguments), negated});
  }

  // A test takes one argument without brackets: x is divisibleby 3
  bool begins_argument() const {
    switch (now().kind) {
      case TokenKind::kName:
        if (is_name("is")) fail("tests cannot be chained");
        return !is_name_of({"else", "or", "and", "if", "in", "not", "recursive"});
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return true;
      default:
        return is_op("[") || is_op("{");
    }
  }

  // ---- statements

  // Up to a block whose name is one of `ends`; now() is then that name. Without ends: up to the end of the template.
  Block parse_block(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    Block block;
    for (;;) {
      const Token& token = now();
      switch (token.kind) {
        case TokenKind::kText:
          take();
          block.push_back(stmt(token.line, TextStmt{literal(token.text)}));
          break;
        case TokenKind::kPrintBegin:
          take();
          block.push_back(stmt(token.line, PrintStmt{parse_tuple(true, false, {})}));
          expect(TokenKind::kPrintEnd, "'}}'");
          break;
        case TokenKind::kBlockBegin:
          take();
          if (is_name_of(ends)) return block;
          parse_statement(block);
          break;
        default:
          if (ends.size() == 0 && token.kind == TokenKind::kEnd) return block;
          unexpected(fmt::format("'{}'", fmt::join(ends, "' or '")));
      }
    }
  }

  void end_statement() { expect(TokenKind::kBlockEnd, "'%}'"); }

  // The body of a block and its end tag.
  Block parse_body(std::string_view end) {
    end_statement();
    Block body = parse_block({end});
    take();
    end_statement();
    return body;
  }

  void parse_statement(Block& block) {
    const int line = now().line;
    const std::string name = expect_name();
    if (name == "set") block.push_back(parse_set(line));
    else if (name == "if") block.push_back(parse_if(line));
    else if (name == "for") block.push_back(parse_for(line));
    else if (name == "macro") block.push_back(parse_macro(line));
    else if (name == "call") block.push_back(parse_call_block(line));
    else if (name == "filter") block.push_back(parse_filter_block(line));
    else if (name == "with") block.push_back(parse_with(line));
    else if (name == "generation") block.push_back(stmt(line, WithStmt{{}, parse_body("endgeneration")}));
    else if (name == "break" || name == "continue") block.push_back(parse_loop_control(line, name));
    else fail(fmt::format("unknown statement '{}'", name));
  }

  const Stmt* parse_loop_control(int line, const std::string& name) {
    if (loops_ == 0) fail(fmt::format("'{}' outside a loop", name));
    end_statement();
    return name == "break" ? stmt(line, BreakStmt{}) : stmt(line, ContinueStmt{});
  }

  Target parse_one_target() {
    if (skip_op("(")) {
      Target target = parse_target();
      expect_op(")");
      return target;
    }
    Target target;
    const std::string name = expect_name();
    if (name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None") {
      fail(fmt::format("cannot assign to '{}'", name));
    }
    target.name = intern(name);
    if (skip_op(".")) target.attribute = literal(expect_name());
    return target;
  }

  Target parse_target() {
    const Level level(*this);
    Target first = parse_one_target();
    if (!is_op(",")) return first;
    Target all;
    all.parts.push_back(std::move(first));
    while (skip_op(",")) {
      if (now().kind != TokenKind::kName && !is_op("(")) break;
      if (is_name("in")) break;
      all.parts.push_back(parse_one_target());
    }
    return all;
  }

  const Stmt* parse_set(int line) {
    Target target = parse_target();
    if (skip_op("=")) {
      const Expr* value = parse_tuple(true, false, {});
      end_statement();
      return stmt(line, SetStmt{std::move(target), value});
    }
    const Expr* filter = nullptr;
    while (skip_op("|")) filter = parse_filter(filter);
    return stmt(line, SetBlockStmt{std::move(target), filter, parse_body("endset")});
  }

  const Stmt* parse_if(int line) {
    IfStmt node;
    for (;;) {
      const Expr* test = parse_tuple(false, false, {});
      end_statement();
      node.branches.emplace_back(test, parse_block({"elif", "else", "endif"}));
      if (!skip_name("elif")) break;
    }
    if (skip_name("else")) {
      end_statement();
      node.otherwise = parse_block({"endif"});
    }
    take();
    end_statement();
    return stmt(line, std::move(node));
  }

  const Stmt* parse_for(int line) {
    ForStmt node;
    node.target = parse_target();
    if (!skip_name("in")) unexpected("'in'");
    node.iterable = parse_tuple(false, false, {"if", "recursive"});
    node.filter = skip_name("if") ? parse_expression() : nullptr;
    if (is_name("recursive")) fail("recursive loops are not supported");
    end_statement();
    ++loops_;
    node.body = parse_block({"else", "endfor"});
    --loops_;
    if (skip_name("else")) {
      end_statement();
      node.otherwise = parse_block({"endfor"});
    }
    take();
    end_statement();
    return stmt(line, std::move(node));
  }

  void parse_parameters(MacroDef& macro) {
    if (!skip_op("(")) return;
    while (!is_op(")")) {
      const std::string name = expect_name();
      const Expr* default_value = skip_op("=") ? parse_expression() : nullptr;
      if (!default_value && !macro.parameters.empty() && macro.parameters.back().default_value) {
        fail(fmt::format("parameter '{}' needs a default: it follows one that has", name));
      }
      macro.parameters.push_back({intern(name), name, default_value});
      if (!skip_op(",")) break;
    }
    expect_op(")");
  }

  // A loop around a macro is not a loop for its body.
  void parse_macro_body(MacroDef& macro, std::string_view end) {
    MacroDef* outer = std::exchange(macro_, &macro);
    const int loops = std::exchange(loops_, 0);
    macro.body = parse_body(end);
    macro_ = outer;
    loops_ = loops;
  }

  const Stmt* parse_macro(int line) {
    MacroStmt node;
    node.macro.name = expect_name();
    node.name = intern(node.macro.name);
    parse_parameters(node.macro);
    parse_macro_body(node.macro, "endmacro");
    return stmt(line, std::move(node));
  }

  const Stmt* parse_call_block(int line) {
    CallStmt node;
    node.caller.name = "caller";
    parse_parameters(node.caller);
    node.call = parse_unary(false);
    if (!std::holds_alternative<CallExpr>(node.call->node)) fail("'call' needs a call of a macro");
    parse_macro_body(node.caller, "endcall");
    return stmt(line, std::move(node));
  }

  const Stmt* parse_filter_block(int line) {
    const Expr* filter = parse_filter(nullptr);
    while (skip_op("|")) filter = parse_filter(filter);
    return stmt(line, FilterStmt{filter, parse_body("endfilter")});
  }

  const Stmt* parse_with(int line) {
    WithStmt node;
    while (now().kind != TokenKind::kBlockEnd) {
      Target target = parse_one_target();
      expect_op("=");
      node.bindings.emplace_back(std::move(target), parse_expression());
      if (!skip_op(",")) break;
    }
    node.body = parse_body("endwith");
    return stmt(line, std::move(node));
  }

  const int max_depth_;
  int depth_ = 0;
  int loops_ = 0;              // loops around this place
  MacroDef* macro_ = nullptr;  // the macro around this place
  Program program_;
};

}  // namespace

Result<Program> parse(const std::string& source, const Limits& limits) {
  SLUICE_ASSIGN_OR_RETURN(auto tokens, lex(source));
  Parser parser(std::move(tokens), limits.depth);
  try {
    return parser.run();
  } catch (const Failure& f) {
    return invalid(fmt::format("line {}: {}", parser.line(), f.message));
  }
}

}  // namespace sluice::jinja
