#include "text/jinja/globals.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "text/jinja/arguments.h"

namespace sluice::jinja {
namespace {

// A function without state.
struct Function : Object {
  using Body = Value (*)(Heap& heap, const Bound& args);
  Function(Heap& heap, Signature signature, Body body) : heap(heap), signature(std::move(signature)), body(body) {}
  std::string_view type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Arguments& args) override { return body(heap, Bound(signature, args)); }

  Heap& heap;
  const Signature signature;
  const Body body;
};

// What namespace() makes: attributes that outlive the loop they are set in.
struct Namespace : Object {
  Namespace(Heap& heap, Dict* attributes) : heap(heap), attributes(attributes) {}
  std::string_view type_name() const override { return "namespace"; }
  Value attribute(std::string_view name) override {
    const Value* v = find(heap, *attributes, heap.text(std::string(name), true));
    return v ? *v : Value(Undefined{});
  }
  void set_attribute(const TextRef& name, Value value) override { heap.set(attributes, name, std::move(value)); }

  Heap& heap;
  Dict* const attributes;
};

// cycler('a', 'b').next(), .current, .reset()
struct Cycler : Object {
  Cycler(Heap& heap, std::vector<Value> items) : heap(heap), items(std::move(items)) {}

  struct Method : Object {
    Method(Cycler* cycler, bool advance) : cycler(cycler), advance(advance) {}
    std::string_view type_name() const override { return "method"; }
    bool callable() const override { return true; }
    Value call(Arguments&) override {
      if (!advance) {
        cycler->at = 0;
        return None{};
      }
      const size_t now = cycler->at;
      cycler->at = (now + 1) % cycler->items.size();
      return cycler->items[now];
    }

    Cycler* const cycler;
    const bool advance;
  };

  std::string_view type_name() const override { return "cycler"; }
  Value attribute(std::string_view name) override {
    if (name == "current") return items[at];
    if (name == "next" || name == "reset") return heap.make<Method>(this, name == "next");
    return Undefined{};
  }

  Heap& heap;
  const std::vector<Value> items;
  size_t at = 0;
};

// joiner(', '): nothing the first time, then the separator.
struct Joiner : Object {
  Joiner(Value first, Value separator) : first(std::move(first)), separator(std::move(separator)) {}
  std::string_view type_name() const override { return "joiner"; }
  bool callable() const override { return true; }
  Value call(Arguments&) override { return std::exchange(used, true) ? separator : first; }

  const Value first, separator;
  bool used = false;
};

Value make_range(Heap& heap, const Bound& args) {
  const bool one = !args.find(1);
  const int64_t begin = one ? 0 : need_int(args[0], "start"), end = need_int(args[one ? 0 : 1], "stop"), step = args.integer(2, 1);
  if (step == 0) fail("range() with a step of 0");
  constexpr uint64_t kMostItems = 100'000;  // MAX_RANGE of Jinja's sandbox
  const bool empty = step > 0 ? begin >= end : begin <= end;
  const uint64_t low = static_cast<uint64_t>(std::min(begin, end)), high = static_cast<uint64_t>(std::max(begin, end));
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t count = empty ? 0 : (high - low - 1) / stride + 1;
  if (count > kMostItems) exhausted(fmt::format("range() of more than {} items", kMostItems));
  auto* items = heap.sequence(SequenceKind::kList, count);
  for (uint64_t i = 0; i < count; ++i) {
    items->items.emplace_back(static_cast<int64_t>(static_cast<uint64_t>(begin) + i * static_cast<uint64_t>(step)));
  }
  return items;
}

// A copy of a mapping or of pairs, then the named arguments.
Value make_dict(Heap& heap, const Bound& bound) {
  const Arguments& args = bound.all();
  auto* d = heap.dict();
  if (args.positional.size() > 1) fail("dict() takes at most one positional argument");
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    const auto* mapping = as<Dict*>(from);
    if (mapping) {
      for (const auto& [key, value] : (*mapping)->items) heap.set(d, key, value);
    } else {
      for (const Value& pair : iterate(heap, from)->items) {
        const Sequence* s = iterate(heap, pair);
        if (s->items.size() != 2) fail("dict() takes a mapping or pairs");
        heap.set(d, s->items[0], s->items[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) heap.set(d, heap.text(name, true), value);
  return d;
}

Value make_namespace(Heap& heap, const Bound& args) { return heap.make<Namespace>(heap, std::get<Dict*>(make_dict(heap, args))); }

Value make_cycler(Heap& heap, const Bound& args) {
  if (args.all().positional.empty()) fail("cycler() needs at least one item");
  return heap.make<Cycler>(heap, args.all().positional);
}

Value make_joiner(Heap& heap, const Bound& args) {
  return heap.make<Joiner>(heap.text("", true), args.find(0) ? args[0] : heap.text(", ", true));
}

Value raise_exception(Heap& heap, const Bound& args) { fail(to_text(heap, args[0])->bytes); }

// The local time in the format of strftime.
Value strftime_now(Heap& heap, const Bound& args) {
  const std::string& format = need_text(args[0], "format")->bytes;
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[256];
  const size_t n = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  return heap.text(std::string(buffer, n), std::get<TextRef>(args[0])->trusted());
}

}  // namespace

Value make_global(Heap& heap, std::string_view name) {
  const auto function = [&](std::vector<std::string_view> parameters, size_t required, bool variadic, Function::Body body) {
    return heap.make<Function>(heap, Signature{name, std::move(parameters), required, variadic}, body);
  };
  if (name == "range") return function({"start", "stop", "step"}, 1, false, make_range);
  if (name == "dict") return function({}, 0, true, make_dict);
  if (name == "namespace") return function({}, 0, true, make_namespace);
  if (name == "cycler") return function({}, 0, true, make_cycler);
  if (name == "joiner") return function({"sep"}, 0, false, make_joiner);
  if (name == "raise_exception") return function({"message"}, 1, false, raise_exception);
  if (name == "strftime_now") return function({"format"}, 1, false, strftime_now);
  return Undefined{};
}

}  // namespace sluice::jinja
