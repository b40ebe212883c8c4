#include "text/jinja/arguments.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::jinja {

Bound::Bound(const Signature& s, Arguments& args) : signature_(s), args_(args), values_(s.parameters.size()) {
  if (s.variadic) return;
  if (args.positional.size() > values_.size()) {
    fail(fmt::format("'{}' takes at most {} arguments, got {}", s.name, values_.size(), args.positional.size()));
  }
  for (size_t i = 0; i < args.positional.size(); ++i) values_[i] = &args.positional[i];
  for (const auto& [name, value] : args.named) {
    const auto found = std::find(s.parameters.begin(), s.parameters.end(), name);
    if (found == s.parameters.end()) fail(fmt::format("'{}' has no parameter '{}'", s.name, name));
    const Value*& slot = values_[static_cast<size_t>(found - s.parameters.begin())];
    if (slot) fail(fmt::format("'{}' got '{}' twice", s.name, name));
    slot = &value;
  }
  for (size_t i = 0; i < s.required; ++i) {
    if (!values_[i]) fail(fmt::format("'{}' needs the argument '{}'", s.name, s.parameters[i]));
  }
}

int64_t Bound::integer(size_t i, int64_t otherwise) const {
  return values_[i] ? need_int(*values_[i], signature_.parameters[i]) : otherwise;
}

}  // namespace sluice::jinja
