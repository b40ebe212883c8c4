// The functions that every template sees: range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace sluice::jinja {

// Undefined if there is none of this name.
Value make_global(Heap& heap, std::string_view name);

}  // namespace sluice::jinja
