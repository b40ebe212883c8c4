// The filters: value | name(arguments).
#pragma once

#include "text/jinja/arguments.h"

namespace sluice::jinja {

struct FilterSpec {
  Signature signature;
  Value (*apply)(Heap& heap, const Value& input, const Bound& args);
};

// Null: there is none of this name.
const FilterSpec* find_filter(std::string_view name);
Value apply_filter(Heap& heap, const FilterSpec& filter, const Value& input, Arguments& args);

// The parts of the table, one a file.
std::span<const FilterSpec> text_filters();
std::span<const FilterSpec> list_filters();

}  // namespace sluice::jinja
