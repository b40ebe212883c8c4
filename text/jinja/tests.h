// The tests: value is name(arguments).
#pragma once

#include "text/jinja/arguments.h"

namespace sluice::jinja {

struct TestSpec {
  Signature signature;
  bool (*apply)(Heap& heap, const Value& input, const Bound& args);
};

// Null: there is none of this name.
const TestSpec* find_test(std::string_view name);
bool apply_test(Heap& heap, const TestSpec& test, const Value& input, Arguments& args);

}  // namespace sluice::jinja
