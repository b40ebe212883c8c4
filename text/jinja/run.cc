#include "text/jinja/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

#include "text/jinja/ast.h"
#include "text/jinja/filters.h"
#include "text/jinja/globals.h"
#include "text/jinja/json.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/parse.h"
#include "text/jinja/tests.h"

namespace sluice::jinja {
namespace {

enum class Flow { kNext, kBreak, kContinue };

// The variables of a block; names it does not have are looked up in the one around it.
struct Scope : Node {
  Scope* outer = nullptr;
  bool kept = false;  // a macro refers to it, so it stays
  std::vector<std::pair<NameId, Value>> variables;

  const Value* find(NameId id) const {
    for (const Scope* s = this; s; s = s->outer) {
      for (const auto& [name, value] : s->variables) {
        if (name == id) return &value;
      }
    }
    return nullptr;
  }
  void set(NameId id, Value v) {
    for (auto& [name, value] : variables) {
      if (name == id) {
        value = std::move(v);
        return;
      }
    }
    variables.emplace_back(id, std::move(v));
  }
};

// The variable `loop`.
struct Loop : Object {
  Loop(Heap& heap, const std::vector<Value>& items, size_t count) : heap(heap), items(items), count(static_cast<int64_t>(count)) {}

  struct Cycle : Object {
    explicit Cycle(const Loop* loop) : loop(loop) {}
    std::string_view type_name() const override { return "method"; }
    bool callable() const override { return true; }
    Value call(Arguments& args) override {
      if (args.positional.empty()) fail("loop.cycle() needs at least one item");
      return args.positional[static_cast<size_t>(loop->index) % args.positional.size()];
    }
    const Loop* const loop;
  };

  struct Changed : Object {
    explicit Changed(Loop* loop) : loop(loop) {}
    std::string_view type_name() const override { return "method"; }
    bool callable() const override { return true; }
    Value call(Arguments& args) override {
      auto* now = loop->heap.sequence(SequenceKind::kTuple, args.positional.size());
      now->items = args.positional;
      const bool changed = !loop->last_seen || !equal(loop->heap, now, loop->last_seen);
      loop->last_seen = now;
      return changed;
    }
    Loop* const loop;
  };

  std::string_view type_name() const override { return "loop"; }
  Value attribute(std::string_view name) override {
    if (name == "index") return index + 1;
    if (name == "index0") return index;
    if (name == "first") return index == 0;
    if (name == "last") return index + 1 == count;
    if (name == "length") return count;
    if (name == "revindex") return count - index;
    if (name == "revindex0") return count - index - 1;
    if (name == "previtem" && index > 0) return items[static_cast<size_t>(index - 1)];
    if (name == "nextitem" && index + 1 < count) return items[static_cast<size_t>(index + 1)];
    if (name == "depth") return int64_t{1};  // counts recursive loops only, which there are none of
    if (name == "depth0") return int64_t{0};
    if (name == "cycle") return heap.make<Cycle>(this);
    if (name == "changed") return heap.make<Changed>(this);
    return Undefined{};
  }

  Heap& heap;
  const std::vector<Value>& items;
  const int64_t count;
  int64_t index = 0;
  Sequence* last_seen = nullptr;  // by changed()
};

class Run {
 public:
  Run(const Program& program, const Limits& limits) : program_(program), budget_(limits), heap_(budget_) {}

  Rendering render(const std::vector<Variable>& variables);
  int line() const { return line_; }

 private:
  friend struct Macro;

  // A scope for as long as it is used; one that no macro keeps serves again.
  class Inner {
   public:
    Inner(Run& run, Scope* outer) : run_(run) {
      scope_ = run.spare_ ? std::exchange(run.spare_, run.spare_->outer) : run.heap_.make<Scope>();
      scope_->outer = outer;
    }
    ~Inner() {
      if (scope_->kept) return;
      scope_->variables.clear();
      scope_->outer = std::exchange(run_.spare_, scope_);  // a list that needs no memory: the run may be ending for lack of it
    }
    Inner(const Inner&) = delete;
    Inner& operator=(const Inner&) = delete;
    Scope* get() const { return scope_; }

   private:
    Run& run_;
    Scope* scope_;
  };

  // Bounds recursion on the C++ stack, and calls of macros within macros.
  class Frame {
   public:
    Frame(int& depth, int limit, std::string_view what) : depth_(depth) {
      if (depth_ >= limit) exhausted(fmt::format("{} nested more than {} deep", what, limit));
      ++depth_;
    }
    ~Frame() { --depth_; }

   private:
    int& depth_;
  };
  // Expressions and statements within each other, through all calls: far beyond real templates, and about 1 MiB of stack.
  static constexpr int kMostFrames = 1000;

  void set_variables(Scope* scope, const std::vector<Variable>& variables, size_t* input_bytes);

  Flow run(const Block& block, Scope* scope);
  Flow run(const TextStmt& s, Scope* scope);
  Flow run(const PrintStmt& s, Scope* scope);
  Flow run(const IfStmt& s, Scope* scope);
  Flow run(const ForStmt& s, Scope* scope);
  Flow run(const SetStmt& s, Scope* scope);
  Flow run(const SetBlockStmt& s, Scope* scope);
  Flow run(const MacroStmt& s, Scope* scope);
  Flow run(const CallStmt& s, Scope* scope);
  Flow run(const FilterStmt& s, Scope* scope);
  Flow run(const WithStmt& s, Scope* scope);
  Flow run(const BreakStmt&, Scope*) { return Flow::kBreak; }
  Flow run(const ContinueStmt&, Scope*) { return Flow::kContinue; }
  void assign(const Target& target, Value v, Scope* scope);
  Sequence* loop_items(const ForStmt& s, Scope* scope);

  // What `body` prints.
  template <class F>
  TextRef capture(F body) {
    TextBuilder text(budget_);
    TextBuilder* outer = std::exchange(out_, &text);
    body();
    out_ = outer;
    return text.finish();
  }

  Value eval(const Expr* e, Scope* scope);
  Value eval_or(const Expr* e, Scope* scope, Value otherwise) { return e ? eval(e, scope) : otherwise; }
  Value eval(const ConstExpr& e, Scope*) { return e.value; }
  Value eval(const NameExpr& e, Scope* scope);
  Value eval(const SequenceExpr& e, Scope* scope);
  Value eval(const DictExpr& e, Scope* scope);
  Value eval(const UnaryExpr& e, Scope* scope);
  Value eval(const BinaryExpr& e, Scope* scope);
  Value eval(const ConcatExpr& e, Scope* scope);
  Value eval(const LogicExpr& e, Scope* scope);
  Value eval(const CompareExpr& e, Scope* scope);
  Value eval(const ConditionExpr& e, Scope* scope);
  Value eval(const AttributeExpr& e, Scope* scope) { return get_attribute(heap_, eval(e.object, scope), e.name); }
  Value eval(const ItemExpr& e, Scope* scope);
  Value eval(const SliceExpr& e, Scope* scope);
  Value eval(const CallExpr& e, Scope* scope) { return call(e, scope, nullptr); }
  Value eval(const FilterExpr& e, Scope* scope);
  Value eval(const TestExpr& e, Scope* scope);
  Value call(const CallExpr& e, Scope* scope, Object* caller);
  Arguments arguments(const std::vector<Argument>& list, Scope* scope);

  const Program& program_;
  Budget budget_;
  Heap heap_;
  TextBuilder* out_ = nullptr;
  TextRef filtered_;  // the text that a filter block or a set block sends through its filters
  Scope* spare_ = nullptr;
  int frames_ = 0, calls_ = 0;
  int line_ = 1;
};

// A macro, or the body of a call block.
struct Macro : Object {
  Macro(Run& run, const MacroDef& def, Scope* scope) : run(run), def(def), scope(scope) {
    for (Scope* s = scope; s && !s->kept; s = s->outer) s->kept = true;
  }
  std::string_view type_name() const override { return "macro"; }
  bool callable() const override { return true; }
  Value attribute(std::string_view name) override {
    return name == "name" ? Value(run.heap_.text(def.name, true)) : Value(Undefined{});
  }
  Value call(Arguments& args) override;
  void bind(Arguments& args, Scope* inner);

  Run& run;
  const MacroDef& def;
  Scope* const scope;
};

Value Macro::call(Arguments& args) {
  const Run::Frame frame(run.calls_, run.budget_.limits().depth, "calls of macros are");
  const int line = run.line_;
  const Run::Inner inner(run, scope);
  bind(args, inner.get());
  TextRef text = run.capture([&] { run.run(def.body, inner.get()); });
  run.line_ = line;
  return text;
}

// Positional arguments, then named ones, then defaults, which see the parameters before them.
void Macro::bind(Arguments& args, Scope* inner) {
  const size_t positional = std::min(args.positional.size(), def.parameters.size());
  if (args.positional.size() > positional && def.varargs < 0) {
    fail(fmt::format("macro '{}' takes at most {} arguments, got {}", def.name, positional, args.positional.size()));
  }
  for (size_t i = 0; i < def.parameters.size(); ++i) {
    const auto& parameter = def.parameters[i];
    const auto named = std::find_if(args.named.begin(), args.named.end(), [&](auto& a) { return a.first == parameter.name; });
    if (i < positional) {
      if (named != args.named.end()) fail(fmt::format("macro '{}' got '{}' twice", def.name, parameter.name));
      inner->set(parameter.id, args.positional[i]);
    } else if (named != args.named.end()) {
      inner->set(parameter.id, std::move(named->second));
      args.named.erase(named);
    } else {
      inner->set(parameter.id, run.eval_or(parameter.default_value, inner, Undefined{}));
    }
  }
  if (def.varargs >= 0) {
    auto* rest = run.heap_.sequence(SequenceKind::kTuple, args.positional.size() - positional);
    rest->items.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(positional), args.positional.end());
    inner->set(def.varargs, rest);
  }
  const auto caller = std::find_if(args.named.begin(), args.named.end(), [](auto& a) { return a.first == "caller"; });
  if (def.caller >= 0) inner->set(def.caller, caller == args.named.end() ? Value(Undefined{}) : caller->second);
  if (caller != args.named.end() && def.caller >= 0) args.named.erase(caller);
  if (def.kwargs >= 0) {
    auto* rest = run.heap_.dict();
    for (auto& [name, value] : args.named) run.heap_.set(rest, run.heap_.text(name, true), std::move(value));
    inner->set(def.kwargs, rest);
  } else if (!args.named.empty()) {
    fail(fmt::format("macro '{}' has no parameter '{}'", def.name, args.named.front().first));
  }
}

Rendering Run::render(const std::vector<Variable>& variables) {
  auto* globals = heap_.make<Scope>();
  size_t input_bytes = 0;
  set_variables(globals, variables, &input_bytes);
  const Limits& limits = budget_.limits();
  TextBuilder out(budget_, limits.output_factor * input_bytes + limits.output_extra);
  out_ = &out;
  run(program_.body, globals);
  Rendering rendering;
  rendering.text = out.bytes();
  out.marks().each(0, out.bytes().size(), [&](size_t b, size_t e, bool trusted) { rendering.runs.push_back({b, e, trusted}); });
  return rendering;
}

// Only what the template names. A variable hides a function of the same name.
void Run::set_variables(Scope* scope, const std::vector<Variable>& variables, size_t* input_bytes) {
  for (const Variable& v : variables) *input_bytes += text_bytes(*v.value);
  for (size_t i = 0; i < program_.names.size(); ++i) {
    const std::string& name = program_.names[i];
    const auto found = std::find_if(variables.begin(), variables.end(), [&](const Variable& v) { return v.name == name; });
    Value v = found != variables.end() ? from_json(heap_, *found->value, found->trusted) : make_global(heap_, name);
    if (!is<Undefined>(v)) scope->set(static_cast<NameId>(i), std::move(v));
  }
}

// ---- statements

Flow Run::run(const Block& block, Scope* scope) {
  for (const Stmt* s : block) {
    const Frame frame(frames_, kMostFrames, "statements and expressions are");
    line_ = s->line;
    budget_.step();
    const Flow flow = std::visit([&](const auto& node) { return run(node, scope); }, s->node);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Flow Run::run(const TextStmt& s, Scope*) {
  out_->append(*s.text);
  return Flow::kNext;
}

Flow Run::run(const PrintStmt& s, Scope* scope) {
  out_->append(*to_text(heap_, eval(s.value, scope)));
  return Flow::kNext;
}

Flow Run::run(const IfStmt& s, Scope* scope) {
  for (const auto& [test, block] : s.branches) {
    if (truth(eval(test, scope))) return run(block, scope);
  }
  return run(s.otherwise, scope);
}

// What the loop runs over, after its filter.
Sequence* Run::loop_items(const ForStmt& s, Scope* scope) {
  Sequence* all = iterate(heap_, eval(s.iterable, scope));
  if (!s.filter) return all;
  auto* kept = heap_.sequence(SequenceKind::kList);
  for (size_t i = 0; i < all->items.size(); ++i) {
    const Inner inner(*this, scope);
    assign(s.target, all->items[i], inner.get());
    if (truth(eval(s.filter, inner.get()))) heap_.push(kept, all->items[i]);
  }
  return kept;
}

Flow Run::run(const ForStmt& s, Scope* scope) {
  const Sequence* sequence = loop_items(s, scope);
  const size_t count = sequence->items.size();  // what the body appends is not seen
  if (count == 0) {
    const Inner inner(*this, scope);
    return run(s.otherwise, inner.get());
  }
  auto* loop = heap_.make<Loop>(heap_, sequence->items, count);
  for (size_t i = 0; i < count; ++i) {
    budget_.step();
    loop->index = static_cast<int64_t>(i);
    const Inner inner(*this, scope);
    inner.get()->set(kLoopId, loop);
    assign(s.target, sequence->items[i], inner.get());
    if (run(s.body, inner.get()) == Flow::kBreak) break;
  }
  return Flow::kNext;
}

void Run::assign(const Target& target, Value v, Scope* scope) {
  if (!target.parts.empty()) {
    const Sequence* parts = iterate(heap_, v);
    if (parts->items.size() != target.parts.size()) {
      fail(fmt::format("cannot spread {} values over {} names", parts->items.size(), target.parts.size()));
    }
    for (size_t i = 0; i < target.parts.size(); ++i) assign(target.parts[i], parts->items[i], scope);
  } else if (target.attribute) {
    const Value* object = scope->find(target.name);
    if (!object || !is<Object*>(*object)) fail("only attributes of a namespace() can be set");
    std::get<Object*>(*object)->set_attribute(target.attribute, std::move(v));
  } else {
    scope->set(target.name, std::move(v));
  }
}

Flow Run::run(const SetStmt& s, Scope* scope) {
  assign(s.target, eval(s.value, scope), scope);
  return Flow::kNext;
}

Flow Run::run(const SetBlockStmt& s, Scope* scope) {
  TextRef text = capture([&] { run(s.body, Inner(*this, scope).get()); });
  if (!s.filter) {
    assign(s.target, std::move(text), scope);
    return Flow::kNext;
  }
  filtered_ = std::move(text);
  assign(s.target, eval(s.filter, scope), scope);
  return Flow::kNext;
}

Flow Run::run(const MacroStmt& s, Scope* scope) {
  scope->set(s.name, heap_.make<Macro>(*this, s.macro, scope));
  return Flow::kNext;
}

Flow Run::run(const CallStmt& s, Scope* scope) {
  Object* caller = heap_.make<Macro>(*this, s.caller, scope);
  out_->append(*to_text(heap_, call(std::get<CallExpr>(s.call->node), scope, caller)));
  return Flow::kNext;
}

Flow Run::run(const FilterStmt& s, Scope* scope) {
  filtered_ = capture([&] { run(s.body, Inner(*this, scope).get()); });
  out_->append(*to_text(heap_, eval(s.filter, scope)));
  return Flow::kNext;
}

Flow Run::run(const WithStmt& s, Scope* scope) {
  const Inner inner(*this, scope);
  for (const auto& [target, value] : s.bindings) assign(target, eval(value, scope), inner.get());
  return run(s.body, inner.get());
}

// ---- expressions

Value Run::eval(const Expr* e, Scope* scope) {
  const Frame frame(frames_, kMostFrames, "statements and expressions are");
  line_ = e->line;
  budget_.step();
  return std::visit([&](const auto& node) { return eval(node, scope); }, e->node);
}

Value Run::eval(const NameExpr& e, Scope* scope) {
  if (const Value* v = scope->find(e.id)) return *v;
  return Undefined{heap_.text(program_.names[static_cast<size_t>(e.id)], true)};
}

Value Run::eval(const SequenceExpr& e, Scope* scope) {
  auto* s = heap_.sequence(e.kind, e.items.size());
  for (const Expr* item : e.items) s->items.push_back(eval(item, scope));
  return s;
}

Value Run::eval(const DictExpr& e, Scope* scope) {
  auto* d = heap_.dict(e.items.size());
  for (const auto& [key_expr, value] : e.items) {
    Value key = eval(key_expr, scope);
    heap_.set(d, std::move(key), eval(value, scope));
  }
  return d;
}

Value Run::eval(const UnaryExpr& e, Scope* scope) {
  const Value v = eval(e.operand, scope);
  if (e.op == UnaryOp::kNot) return !truth(v);
  if (e.op == UnaryOp::kMinus) return minus(v);
  if (is<double>(v)) return v;
  return need_int(v, "what '+' takes");
}

Value Run::eval(const BinaryExpr& e, Scope* scope) {
  Value v = eval(e.first, scope);
  for (const auto& [op, operand] : e.rest) v = binary(heap_, op, v, eval(operand, scope));
  return v;
}

Value Run::eval(const ConcatExpr& e, Scope* scope) {
  TextBuilder text(budget_);
  for (const Expr* part : e.parts) text.append(*to_text(heap_, eval(part, scope)));
  return text.finish();
}

Value Run::eval(const LogicExpr& e, Scope* scope) {
  Value v;
  for (const Expr* part : e.parts) {
    v = eval(part, scope);
    if (truth(v) == e.is_or) break;
  }
  return v;
}

Value Run::eval(const CompareExpr& e, Scope* scope) {
  Value left = eval(e.first, scope);
  for (const auto& [op, operand] : e.rest) {
    Value right = eval(operand, scope);
    if (!compare_values(heap_, op, left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Run::eval(const ConditionExpr& e, Scope* scope) {
  return truth(eval(e.test, scope)) ? eval(e.yes, scope) : eval_or(e.no, scope, Undefined{});
}

Value Run::eval(const ItemExpr& e, Scope* scope) {
  const Value object = eval(e.object, scope);
  return get_item(heap_, object, eval(e.index, scope));
}

Value Run::eval(const SliceExpr& e, Scope* scope) {
  const Value object = eval(e.object, scope);
  const Value begin = eval_or(e.begin, scope, None{}), end = eval_or(e.end, scope, None{}), step = eval_or(e.step, scope, None{});
  return get_slice(heap_, object, &begin, &end, &step);
}

Value Run::eval(const FilterExpr& e, Scope* scope) {
  const Value input = e.input ? eval(e.input, scope) : Value(std::exchange(filtered_, nullptr));
  Arguments args = arguments(e.arguments, scope);
  return apply_filter(heap_, *e.filter, input, args);
}

Value Run::eval(const TestExpr& e, Scope* scope) {
  const Value input = eval(e.input, scope);
  Arguments args = arguments(e.arguments, scope);
  return apply_test(heap_, *e.test, input, args) != e.negated;
}

Arguments Run::arguments(const std::vector<Argument>& list, Scope* scope) {
  Arguments args;
  for (const Argument& a : list) {
    if (a.name.empty()) args.positional.push_back(eval(a.value, scope));
    else args.named.emplace_back(a.name, eval(a.value, scope));
  }
  return args;
}

Value Run::call(const CallExpr& e, Scope* scope, Object* caller) {
  Value callee;
  if (const auto* attribute = std::get_if<AttributeExpr>(&e.callee->node)) {
    const Value self = eval(attribute->object, scope);
    if (const MethodSpec* method = find_method(self, attribute->name->bytes)) {  // no method object needed
      Arguments args = arguments(e.arguments, scope);
      return call_method(heap_, *method, self, args);
    }
    callee = get_attribute(heap_, self, attribute->name);
  } else {
    callee = eval(e.callee, scope);
  }
  if (!is<Object*>(callee)) fail_type("only macros and functions can be called", callee);
  Arguments args = arguments(e.arguments, scope);
  if (caller) args.named.emplace_back("caller", caller);
  return std::get<Object*>(callee)->call(args);
}

}  // namespace

Result<Template> Template::parse(const std::string& source) {
  SLUICE_ASSIGN_OR_RETURN(Program program, jinja::parse(source));
  return Template(std::make_shared<const Program>(std::move(program)));
}

Result<Rendering> Template::render(const std::vector<Variable>& variables, const Limits& limits) const {
  Run run(*program_, limits);
  try {
    return run.render(variables);
  } catch (const Failure& f) {
    return Status(f.code, fmt::format("line {}: {}", run.line(), f.message));
  }
}

}  // namespace sluice::jinja
