// Arguments of filters, tests, methods and functions, matched to the names of their parameters.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace sluice::jinja {

// The parameters of a function: names in order, those before `required` without a default.
struct Signature {
  std::string_view name;
  std::vector<std::string_view> parameters;
  size_t required = 0;
  bool variadic = false;  // takes any arguments; parameters is empty
};

class Bound {
 public:
  Bound(const Signature& signature, Arguments& args);  // fails if they do not match

  const Value* find(size_t i) const { return values_[i]; }  // null: not given
  const Value& operator[](size_t i) const { return *values_[i]; }
  bool flag(size_t i, bool otherwise = false) const { return values_[i] ? truth(*values_[i]) : otherwise; }
  int64_t integer(size_t i, int64_t otherwise) const;
  // Null if not given or none.
  const Value* optional(size_t i) const { return values_[i] && !is<None>(*values_[i]) ? values_[i] : nullptr; }
  Arguments& all() const { return args_; }

 private:
  const Signature& signature_;
  Arguments& args_;
  std::vector<const Value*> values_;
};

}  // namespace sluice::jinja
