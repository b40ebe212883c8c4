#include "text/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "text/jinja/methods.h"
#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

std::string_view symbol(BinaryOp op) {
  static constexpr std::string_view kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<int>(op)];
}

int64_t checked(std::optional<int64_t> v) {
  if (!v) fail("an integer leaves the range of 64 bits");
  return *v;
}

int64_t floor_div(int64_t a, int64_t b) {
  if (b == 0) fail("division by zero");
  if (b == -1) return checked(checked_mul<int64_t>(a, -1));
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t floor_mod(int64_t a, int64_t b) {
  if (b == 0) fail("division by zero");
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

int64_t power(int64_t base, int64_t exponent) {
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 ? -1 : 1;
  int64_t result = 1;  // overflows, and so ends, after 63 rounds
  for (; exponent > 0; --exponent) result = checked(checked_mul(result, base));
  return result;
}

double float_power(double a, double b) {
  if (a == 0 && b < 0) fail("zero cannot be raised to a negative power");
  if (a < 0 && b != std::floor(b)) fail("a negative number raised to a fraction is complex");
  return std::pow(a, b);
}

double float_mod(double a, double b) {
  if (b == 0) fail("division by zero");
  const double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

Value integer_arithmetic(BinaryOp op, int64_t a, int64_t b) {
  switch (op) {
    case BinaryOp::kAdd:
      return checked(checked_add(a, b));
    case BinaryOp::kSub: {
      int64_t r;
      if (__builtin_sub_overflow(a, b, &r)) return checked(std::nullopt);
      return r;
    }
    case BinaryOp::kMul:
      return checked(checked_mul(a, b));
    case BinaryOp::kDiv:
      if (b == 0) fail("division by zero");
      return static_cast<double>(a) / static_cast<double>(b);
    case BinaryOp::kFloorDiv:
      return floor_div(a, b);
    case BinaryOp::kMod:
      return floor_mod(a, b);
    case BinaryOp::kPow:
      break;
  }
  if (b < 0) return float_power(static_cast<double>(a), static_cast<double>(b));
  return power(a, b);
}

Value float_arithmetic(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      if (b == 0) fail("division by zero");
      return a / b;
    case BinaryOp::kFloorDiv:
      return (a - float_mod(a, b)) / b;
    case BinaryOp::kMod:
      return float_mod(a, b);
    case BinaryOp::kPow:
      break;
  }
  return float_power(a, b);
}

Value concatenate(Heap& heap, const Sequence& a, const Sequence& b) {
  auto* s = heap.sequence(a.kind, a.items.size() + b.items.size());
  s->items.insert(s->items.end(), a.items.begin(), a.items.end());
  s->items.insert(s->items.end(), b.items.begin(), b.items.end());
  return s;
}

// How many items or bytes come of it; refused at once if they cannot fit, not after a long time of copying.
size_t repeated_size(Heap& heap, size_t size, int64_t times, size_t bytes_each) {
  const size_t limit = heap.budget.limits().memory / bytes_each;
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  if (size > 0 && count > limit / size) exhausted(fmt::format("repeating something {} times takes too much memory", times));
  return size * count;
}

Value repeat_text(Heap& heap, const Text& t, int64_t times) {
  TextBuilder out(heap.budget);
  const size_t size = repeated_size(heap, t.bytes.size(), times, 1);
  while (out.bytes().size() < size) out.append(t);
  return out.finish();
}

Value repeat_sequence(Heap& heap, const Sequence& in, int64_t times) {
  const size_t size = repeated_size(heap, in.items.size(), times, sizeof(Value));
  auto* s = heap.sequence(in.kind, size);
  while (s->items.size() < size) {
    heap.budget.work(in.items.size() * sizeof(Value));
    s->items.insert(s->items.end(), in.items.begin(), in.items.end());
  }
  return s;
}

bool is_list(const Value& v) { return is<Sequence*>(v) && std::get<Sequence*>(v)->kind != SequenceKind::kGenerator; }

Value repeat(Heap& heap, const Value& v, int64_t times) {
  if (const auto* t = as<TextRef>(v)) return repeat_text(heap, **t, times);
  return repeat_sequence(heap, *std::get<Sequence*>(v), times);
}

bool is_integral(const Value& v) { return is<int64_t>(v) || is<bool>(v); }
bool can_repeat(const Value& v) { return is<TextRef>(v) || is_list(v); }

}  // namespace

Value binary(Heap& heap, BinaryOp op, const Value& a, const Value& b) {
  if (is_integral(a) && is_integral(b)) return integer_arithmetic(op, need_int(a, ""), need_int(b, ""));
  if (is_number(a) && is_number(b)) return float_arithmetic(op, to_double(a), to_double(b));
  if (op == BinaryOp::kAdd && is<TextRef>(a) && is<TextRef>(b)) {
    TextBuilder out(heap.budget);
    out.append(*std::get<TextRef>(a));
    out.append(*std::get<TextRef>(b));
    return out.finish();
  }
  if (op == BinaryOp::kAdd && is_list(a) && is_list(b) && std::get<Sequence*>(a)->kind == std::get<Sequence*>(b)->kind) {
    return concatenate(heap, *std::get<Sequence*>(a), *std::get<Sequence*>(b));
  }
  if (op == BinaryOp::kMul && can_repeat(a) && is_integral(b)) return repeat(heap, a, need_int(b, ""));
  if (op == BinaryOp::kMul && is_integral(a) && can_repeat(b)) return repeat(heap, b, need_int(a, ""));
  if (const auto* u = as<Undefined>(a)) fail_undefined(*u);
  if (const auto* u = as<Undefined>(b)) fail_undefined(*u);
  fail(fmt::format("'{}' does not take a '{}' and a '{}'", symbol(op), type_name(a), type_name(b)));
}

Value minus(const Value& v) {
  if (const auto* d = as<double>(v)) return -*d;
  return checked(checked_mul<int64_t>(need_int(v, "what '-' takes"), -1));
}

bool compare_values(Heap& heap, CompareOp op, const Value& a, const Value& b) {
  const bool nan = (is<double>(a) && std::isnan(std::get<double>(a))) || (is<double>(b) && std::isnan(std::get<double>(b)));
  switch (op) {
    case CompareOp::kEq:
      return equal(heap, a, b);
    case CompareOp::kNe:
      return !equal(heap, a, b);
    case CompareOp::kLt:
      return compare(heap, a, b) < 0;
    case CompareOp::kLe:
      return compare(heap, a, b) <= 0 && !nan;
    case CompareOp::kGt:
      return compare(heap, a, b) > 0;
    case CompareOp::kGe:
      return compare(heap, a, b) >= 0 && !nan;
    case CompareOp::kIn:
      return contains(heap, b, a);
    case CompareOp::kNotIn:
      break;
  }
  return !contains(heap, b, a);
}

Value get_attribute(Heap& heap, const Value& object, const TextRef& name) {
  if (const auto* u = as<Undefined>(object)) fail_undefined(*u);
  if (const auto* o = as<Object*>(object)) {
    Value v = (*o)->attribute(name->bytes);
    if (!is<Undefined>(v)) return v;
  } else if (has_method(object, name->bytes)) {
    return bind_method(heap, object, name);
  } else if (const auto* d = as<Dict*>(object)) {
    if (const Value* v = find(heap, **d, name)) return *v;
  }
  return Undefined{name};
}

Value get_item(Heap& heap, const Value& object, const Value& index) {
  if (const auto* u = as<Undefined>(object)) fail_undefined(*u);
  const TextRef* name = as<TextRef>(index);
  if (const auto* d = as<Dict*>(object)) {
    if (const Value* v = find(heap, **d, index)) return *v;
  } else if (is_integral(index)) {
    int64_t i = need_int(index, "");
    const int64_t n = is_list(object) || is<TextRef>(object) ? length_of(object) : 0;
    if (i < 0) i += n;
    if (i < 0 || i >= n) return Undefined{};
    if (is_list(object)) return std::get<Sequence*>(object)->items[static_cast<size_t>(i)];
    const Value at = i, after = i + 1;
    return get_slice(heap, object, &at, &after, nullptr);
  }
  return name ? get_attribute(heap, object, *name) : Undefined{};
}

namespace {

struct Range {
  int64_t begin, step, count;
};

// Python's rule for the positions of a slice.
Range slice_range(int64_t length, const Value* begin, const Value* end, const Value* step) {
  const auto given = [](const Value* v) { return v && !is<None>(*v); };
  const int64_t by = given(step) ? need_int(*step, "a slice step") : 1;
  if (by == 0) fail("a slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? length : length - 1;
  const auto bound = [&](const Value* v, int64_t otherwise) {
    if (!given(v)) return otherwise;
    const int64_t i = need_int(*v, "a slice bound");
    return std::clamp(i < 0 && i >= -length ? i + length : i < 0 ? low : i, low, high);
  };
  const int64_t from = bound(begin, by > 0 ? low : high), to = bound(end, by > 0 ? high : low);
  const int64_t distance = by > 0 ? to - from : from - to;
  if (distance <= 0) return {from, by, 0};
  const uint64_t stride = by > 0 ? static_cast<uint64_t>(by) : 0 - static_cast<uint64_t>(by);
  return {from, by, static_cast<int64_t>((static_cast<uint64_t>(distance) - 1) / stride) + 1};
}

Value slice_text(Heap& heap, const TextRef& t, const Range& r) {
  std::vector<size_t> starts;  // of code points; left empty for ASCII
  heap.budget.work(t->bytes.size());
  if (!t->ascii()) {
    heap.budget.take(t->length * sizeof(size_t));
    heap.budget.give(t->length * sizeof(size_t));
    for (size_t i = 0; i < t->bytes.size(); i += decode(t->bytes, i).bytes) starts.push_back(i);
  }
  starts.push_back(t->bytes.size());
  const auto offset = [&](int64_t i) { return t->ascii() ? static_cast<size_t>(i) : starts[static_cast<size_t>(i)]; };
  if (r.count == 0) return heap.text("", true);
  if (r.step == 1) return heap.cut(t, offset(r.begin), offset(r.begin + r.count));
  TextBuilder out(heap.budget);
  for (int64_t k = 0; k < r.count; ++k) {
    const int64_t i = r.begin + k * r.step;
    out.append(*t, offset(i), offset(i + 1));
  }
  return out.finish();
}

}  // namespace

Value get_slice(Heap& heap, const Value& object, const Value* begin, const Value* end, const Value* step) {
  if (const auto* t = as<TextRef>(object)) return slice_text(heap, *t, slice_range(length_of(object), begin, end, step));
  if (!is_list(object)) fail_type("only strings and lists can be sliced", object);
  const Sequence& in = *std::get<Sequence*>(object);
  const Range r = slice_range(length_of(object), begin, end, step);
  auto* out = heap.sequence(in.kind, static_cast<size_t>(r.count));
  for (int64_t k = 0; k < r.count; ++k) {
    heap.budget.work(sizeof(Value));
    out->items.push_back(in.items[static_cast<size_t>(r.begin + k * r.step)]);
  }
  return out;
}

}  // namespace sluice::jinja
