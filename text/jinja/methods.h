// The methods of strings, mappings and lists: value.name(arguments).
#pragma once

#include "text/jinja/arguments.h"

namespace sluice::jinja {

struct MethodSpec {
  Signature signature;
  Value (*apply)(Heap& heap, const Value& self, const Bound& args);
};

// Null: values of this type have no such method.
const MethodSpec* find_method(const Value& self, std::string_view name);
Value call_method(Heap& heap, const MethodSpec& method, const Value& self, Arguments& args);
inline bool has_method(const Value& self, std::string_view name) { return find_method(self, name) != nullptr; }
// self.name without a call.
Value bind_method(Heap& heap, const Value& self, const TextRef& name);

// Shared with the filters of the same names.
Value strip_text(Heap& heap, const TextRef& text, const Value* chars, bool left, bool right);
Value replace_text(Heap& heap, const TextRef& text, const Text& from, const Text& to, int64_t count);  // count < 0: all
Sequence* dict_items(Heap& heap, const Dict& d);

}  // namespace sluice::jinja
