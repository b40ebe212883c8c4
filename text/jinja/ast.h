// The syntax tree. A Program owns its nodes flat, in one vector a kind, so that neither building nor freeing it recurses.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/value.h"

namespace sluice::jinja {

struct FilterSpec;
struct TestSpec;
struct Expr;
using NameId = int;  // index into Program::names

enum class BinaryOp { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };
enum class UnaryOp { kNot, kMinus, kPlus };

struct Argument {
  std::string name;  // empty: by position
  const Expr* value;
};

struct ConstExpr {
  Value value;
};
struct NameExpr {
  NameId id;
};
struct SequenceExpr {
  SequenceKind kind;
  std::vector<const Expr*> items;
};
struct DictExpr {
  std::vector<std::pair<const Expr*, const Expr*>> items;
};
struct UnaryExpr {
  UnaryOp op;
  const Expr* operand;
};
struct BinaryExpr {
  const Expr* first;
  std::vector<std::pair<BinaryOp, const Expr*>> rest;  // from left to right, one level of precedence
};
struct ConcatExpr {
  std::vector<const Expr*> parts;
};
struct LogicExpr {
  bool is_or;
  std::vector<const Expr*> parts;
};
struct CompareExpr {
  const Expr* first;
  std::vector<std::pair<CompareOp, const Expr*>> rest;  // a < b < c
};
struct ConditionExpr {
  const Expr *test, *yes, *no;  // no: null for undefined
};
struct AttributeExpr {
  const Expr* object;
  TextRef name;
};
struct ItemExpr {
  const Expr *object, *index;
};
struct SliceExpr {
  const Expr *object, *begin, *end, *step;  // any but the object may be null
};
struct CallExpr {
  const Expr* callee;
  std::vector<Argument> arguments;
};
struct FilterExpr {
  const Expr* input;  // null: the text of the filter block
  const FilterSpec* filter;
  std::vector<Argument> arguments;
};
struct TestExpr {
  const Expr* input;
  const TestSpec* test;
  std::vector<Argument> arguments;
  bool negated;
};

struct Expr {
  int line;
  std::variant<ConstExpr, NameExpr, SequenceExpr, DictExpr, UnaryExpr, BinaryExpr, ConcatExpr, LogicExpr, CompareExpr,
               ConditionExpr, AttributeExpr, ItemExpr, SliceExpr, CallExpr, FilterExpr, TestExpr>
      node;
};

struct Stmt;
using Block = std::vector<const Stmt*>;

// Where an assignment goes: a name, an attribute of a namespace, or several targets that a sequence is spread over.
struct Target {
  NameId name = -1;
  TextRef attribute;  // set: of the namespace called `name`
  std::vector<Target> parts;
};

struct MacroDef {
  struct Parameter {
    NameId id;
    std::string name;
    const Expr* default_value;  // null: undefined
  };
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
  NameId varargs = -1, kwargs = -1, caller = -1;  // -1: the body does not use it
};

struct TextStmt {
  TextRef text;
};
struct PrintStmt {
  const Expr* value;
};
struct IfStmt {
  std::vector<std::pair<const Expr*, Block>> branches;
  Block otherwise;
};
struct ForStmt {
  Target target;
  const Expr* iterable;
  const Expr* filter;  // null: none
  Block body, otherwise;
};
struct SetStmt {
  Target target;
  const Expr* value;
};
struct SetBlockStmt {
  Target target;
  const Expr* filter;  // null, or the filters to send the text through
  Block body;
};
struct MacroStmt {
  NameId name;
  MacroDef macro;
};
struct CallStmt {
  const Expr* call;  // a CallExpr
  MacroDef caller;
};
struct FilterStmt {
  const Expr* filter;
  Block body;
};
struct WithStmt {  // also a plain scope
  std::vector<std::pair<Target, const Expr*>> bindings;
  Block body;
};
struct BreakStmt {};
struct ContinueStmt {};

struct Stmt {
  int line;
  std::variant<TextStmt, PrintStmt, IfStmt, ForStmt, SetStmt, SetBlockStmt, MacroStmt, CallStmt, FilterStmt, WithStmt, BreakStmt,
               ContinueStmt>
      node;
};

inline constexpr NameId kLoopId = 0;  // of the name `loop`

struct Program {
  std::vector<std::unique_ptr<const Expr>> exprs;
  std::vector<std::unique_ptr<const Stmt>> stmts;
  std::vector<std::string> names = {"loop"};
  Block body;
};

}  // namespace sluice::jinja
