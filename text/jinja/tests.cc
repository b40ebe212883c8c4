#include "text/jinja/tests.h"

#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

template <class T>
bool is_a(Heap&, const Value& v, const Bound&) {
  return is<T>(v);
}

bool is_defined(Heap&, const Value& v, const Bound&) { return !is<Undefined>(v); }
bool is_number_test(Heap&, const Value& v, const Bound&) { return is_number(v); }
bool is_true(Heap&, const Value& v, const Bound&) { return is<bool>(v) && std::get<bool>(v); }
bool is_false(Heap&, const Value& v, const Bound&) { return is<bool>(v) && !std::get<bool>(v); }
bool is_callable(Heap&, const Value& v, const Bound&) { return is<Object*>(v) && std::get<Object*>(v)->callable(); }

bool is_iterable(Heap&, const Value& v, const Bound&) {
  return is<TextRef>(v) || is<Sequence*>(v) || is<Dict*>(v) || is<Undefined>(v);
}

// Has a length and can be indexed.
bool is_sequence(Heap&, const Value& v, const Bound&) {
  if (const auto* s = as<Sequence*>(v)) return (*s)->kind != SequenceKind::kGenerator;
  return is<TextRef>(v) || is<Dict*>(v) || is<Undefined>(v);
}

int64_t modulo(int64_t a, int64_t b) {
  if (b == 0) fail("division by zero");
  return b == -1 ? 0 : a % b;
}
bool is_odd(Heap&, const Value& v, const Bound&) { return modulo(need_int(v, "the tested value"), 2) != 0; }
bool is_even(Heap&, const Value& v, const Bound&) { return modulo(need_int(v, "the tested value"), 2) == 0; }
bool is_divisible(Heap&, const Value& v, const Bound& args) {
  return modulo(need_int(v, "the tested value"), need_int(args[0], "num")) == 0;
}

bool is_equal(Heap& heap, const Value& v, const Bound& args) { return equal(heap, v, args[0]); }
bool is_unequal(Heap& heap, const Value& v, const Bound& args) { return !equal(heap, v, args[0]); }
bool is_less(Heap& heap, const Value& v, const Bound& args) { return compare(heap, v, args[0]) < 0; }
bool is_at_most(Heap& heap, const Value& v, const Bound& args) { return compare(heap, v, args[0]) <= 0; }
bool is_greater(Heap& heap, const Value& v, const Bound& args) { return compare(heap, v, args[0]) > 0; }
bool is_at_least(Heap& heap, const Value& v, const Bound& args) { return compare(heap, v, args[0]) >= 0; }
bool is_in(Heap& heap, const Value& v, const Bound& args) { return contains(heap, args[0], v); }

// Python's `is`: lists and mappings by identity, the rest by kind and value.
bool is_same(Heap& heap, const Value& v, const Bound& args) {
  const Value& other = args[0];
  if (v.index() != other.index()) return false;
  if (const auto* s = as<Sequence*>(v)) return *s == std::get<Sequence*>(other);
  if (const auto* d = as<Dict*>(v)) return *d == std::get<Dict*>(other);
  return equal(heap, v, other);
}

// There are cased letters, and none of the other case.
bool all_cased(const std::string& s, const std::string& in_this_case, const std::string& in_the_other) {
  return s == in_this_case && s != in_the_other;
}
bool is_lower(Heap& heap, const Value& v, const Bound&) {
  const TextRef t = to_text(heap, v);
  return all_cased(t->bytes, to_lower(t->bytes), to_upper(t->bytes));
}
bool is_upper(Heap& heap, const Value& v, const Bound&) {
  const TextRef t = to_text(heap, v);
  return all_cased(t->bytes, to_upper(t->bytes), to_lower(t->bytes));
}

bool is_filter(Heap&, const Value& v, const Bound&) { return find_filter(need_text(v, "the tested value")->bytes) != nullptr; }
bool is_test(Heap&, const Value& v, const Bound&) { return find_test(need_text(v, "the tested value")->bytes) != nullptr; }

const std::vector<TestSpec>& table() {
  static const std::vector<TestSpec> kTests = {
      {{"defined", {}}, is_defined},
      {{"undefined", {}}, is_a<Undefined>},
      {{"none", {}}, is_a<None>},
      {{"string", {}}, is_a<TextRef>},
      {{"number", {}}, is_number_test},
      {{"integer", {}}, is_a<int64_t>},
      {{"float", {}}, is_a<double>},
      {{"boolean", {}}, is_a<bool>},
      {{"mapping", {}}, is_a<Dict*>},
      {{"iterable", {}}, is_iterable},
      {{"sequence", {}}, is_sequence},
      {{"callable", {}}, is_callable},
      {{"true", {}}, is_true},
      {{"false", {}}, is_false},
      {{"odd", {}}, is_odd},
      {{"even", {}}, is_even},
      {{"divisibleby", {"num"}, 1}, is_divisible},
      {{"eq", {"other"}, 1}, is_equal},
      {{"equalto", {"other"}, 1}, is_equal},
      {{"==", {"other"}, 1}, is_equal},
      {{"ne", {"other"}, 1}, is_unequal},
      {{"!=", {"other"}, 1}, is_unequal},
      {{"lt", {"other"}, 1}, is_less},
      {{"lessthan", {"other"}, 1}, is_less},
      {{"<", {"other"}, 1}, is_less},
      {{"le", {"other"}, 1}, is_at_most},
      {{"<=", {"other"}, 1}, is_at_most},
      {{"gt", {"other"}, 1}, is_greater},
      {{"greaterthan", {"other"}, 1}, is_greater},
      {{">", {"other"}, 1}, is_greater},
      {{"ge", {"other"}, 1}, is_at_least},
      {{">=", {"other"}, 1}, is_at_least},
      {{"in", {"seq"}, 1}, is_in},
      {{"sameas", {"other"}, 1}, is_same},
      {{"lower", {}}, is_lower},
      {{"upper", {}}, is_upper},
      {{"filter", {}}, is_filter},
      {{"test", {}}, is_test},
  };
  return kTests;
}

}  // namespace

const TestSpec* find_test(std::string_view name) {
  const auto found = std::find_if(table().begin(), table().end(), [&](const TestSpec& t) { return t.signature.name == name; });
  return found == table().end() ? nullptr : &*found;
}

bool apply_test(Heap& heap, const TestSpec& test, const Value& input, Arguments& args) {
  return test.apply(heap, input, Bound(test.signature, args));
}

}  // namespace sluice::jinja
