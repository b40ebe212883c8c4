// What the operators of expressions do to values.
#pragma once

#include "text/jinja/ast.h"

namespace sluice::jinja {

Value binary(Heap& heap, BinaryOp op, const Value& a, const Value& b);
Value minus(const Value& v);
bool compare_values(Heap& heap, CompareOp op, const Value& a, const Value& b);

// object.name: attributes and methods first, then keys. Undefined where there is none; an error on undefined.
Value get_attribute(Heap& heap, const Value& object, const TextRef& name);
// object[index]: keys and positions first, then attributes.
Value get_item(Heap& heap, const Value& object, const Value& index);
// begin, end, step: null where left out.
Value get_slice(Heap& heap, const Value& object, const Value* begin, const Value* end, const Value* step);

}  // namespace sluice::jinja
