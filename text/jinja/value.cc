#include "text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/unicode.h"

namespace sluice::jinja {

Text::Text(Budget* budget, std::string text, Marks text_marks)
    : bytes(std::move(text)), marks(std::move(text_marks)), length(count_code_points(bytes)), budget(budget) {
  if (budget) budget->take(cost());
}

Text::~Text() {
  if (budget) budget->give(cost());
}

size_t Text::cost() const { return sizeof(Text) + bytes.size() + marks.flips() * sizeof(size_t); }

void TextBuilder::grow(size_t bytes) {
  if (bytes > limit_ - bytes_.size()) exhausted(fmt::format("the output is longer than {} bytes", limit_));
  budget_.take(bytes);
  budget_.work(bytes);
}

void TextBuilder::append(std::string_view s, bool trusted) {
  if (s.empty()) return;
  grow(s.size());
  marks_.append(bytes_.size(), trusted);
  bytes_ += s;
}

void TextBuilder::append(const Text& t, size_t begin, size_t end) {
  t.marks.each(begin, end, [&](size_t b, size_t e, bool trusted) { append(std::string_view(t.bytes).substr(b, e - b), trusted); });
}

TextRef TextBuilder::release(Marks marks) {
  budget_.give(bytes_.size());
  return std::make_shared<const Text>(&budget_, std::exchange(bytes_, {}), std::move(marks));
}

TextRef TextBuilder::finish() { return release(std::exchange(marks_, {})); }
TextRef TextBuilder::finish_as(bool trusted) { return release(Marks::all(trusted)); }

Value Object::attribute(std::string_view) { return Undefined{}; }
void Object::set_attribute(const TextRef&, Value) { fail(fmt::format("cannot set an attribute of a '{}'", type_name())); }
Value Object::call(Arguments&) { fail(fmt::format("a '{}' cannot be called", type_name())); }

TextRef Heap::text(std::string bytes, Marks marks) {
  budget.work(bytes.size());
  return std::make_shared<const Text>(&budget, std::move(bytes), std::move(marks));
}

TextRef Heap::cut(const TextRef& text, size_t begin, size_t end) {
  if (begin == 0 && end == text->bytes.size()) return text;
  TextBuilder out(budget);
  out.append(*text, begin, end);
  return out.finish();
}

Sequence* Heap::sequence(SequenceKind kind, size_t reserve) {
  auto* s = make<Sequence>();
  s->kind = kind;
  budget.take(reserve * sizeof(Value));
  s->items.reserve(reserve);
  return s;
}

Dict* Heap::dict(size_t reserve) {
  auto* d = make<Dict>();
  budget.take(reserve * sizeof(std::pair<Value, Value>));
  d->items.reserve(reserve);
  return d;
}

namespace {

// Room for one more, doubling, paid before it is allocated.
template <class T>
void make_room(Budget& budget, std::vector<T>& items) {
  if (items.size() < items.capacity()) return;
  const size_t more = std::max<size_t>(4, items.capacity());
  budget.take(more * sizeof(T));
  items.reserve(items.capacity() + more);
}

}  // namespace

void Heap::push(Sequence* s, Value v) {
  make_room(budget, s->items);
  s->items.push_back(std::move(v));
}

void Heap::set(Dict* d, Value key, Value v) {
  if (const Value* old = find(*this, *d, key)) {
    *const_cast<Value*>(old) = std::move(v);
    return;
  }
  make_room(budget, d->items);
  d->items.emplace_back(std::move(key), std::move(v));
}

std::string_view type_name(const Value& v) {
  struct Name {
    std::string_view operator()(const Undefined&) const { return "undefined"; }
    std::string_view operator()(None) const { return "NoneType"; }
    std::string_view operator()(bool) const { return "bool"; }
    std::string_view operator()(int64_t) const { return "int"; }
    std::string_view operator()(double) const { return "float"; }
    std::string_view operator()(const TextRef&) const { return "str"; }
    std::string_view operator()(const Sequence* s) const {
      return s->kind == SequenceKind::kList ? "list" : s->kind == SequenceKind::kTuple ? "tuple" : "generator";
    }
    std::string_view operator()(const Dict*) const { return "dict"; }
    std::string_view operator()(const Object* o) const { return o->type_name(); }
  };
  return std::visit(Name(), v);
}

bool truth(const Value& v) {
  struct Truth {
    bool operator()(const Undefined&) const { return false; }
    bool operator()(None) const { return false; }
    bool operator()(bool b) const { return b; }
    bool operator()(int64_t i) const { return i != 0; }
    bool operator()(double d) const { return d != 0; }
    bool operator()(const TextRef& t) const { return !t->bytes.empty(); }
    bool operator()(const Sequence* s) const { return s->kind == SequenceKind::kGenerator || !s->items.empty(); }
    bool operator()(const Dict* d) const { return !d->items.empty(); }
    bool operator()(const Object*) const { return true; }
  };
  return std::visit(Truth(), v);
}

bool is_number(const Value& v) { return is<int64_t>(v) || is<double>(v) || is<bool>(v); }

double to_double(const Value& v) {
  if (const auto* d = as<double>(v)) return *d;
  if (const auto* i = as<int64_t>(v)) return static_cast<double>(*i);
  return std::get<bool>(v) ? 1 : 0;
}

void fail_undefined(const Undefined& u) { fail(u.name ? fmt::format("'{}' is undefined", u.name->bytes) : "value is undefined"); }

void fail_type(std::string_view what, const Value& v) {
  if (const auto* u = as<Undefined>(v)) fail_undefined(*u);
  fail(fmt::format("{}: got a '{}'", what, type_name(v)));
}

int64_t need_int(const Value& v, std::string_view what) {
  if (const auto* i = as<int64_t>(v)) return *i;
  if (const auto* b = as<bool>(v)) return *b;
  fail_type(fmt::format("{} must be an integer", what), v);
}

const TextRef& need_text(const Value& v, std::string_view what) {
  if (const auto* t = as<TextRef>(v)) return *t;
  fail_type(fmt::format("{} must be a string", what), v);
}

namespace {

void check_depth(const Heap& heap, int depth) {
  if (depth > heap.budget.limits().depth) exhausted(fmt::format("a value is nested more than {} deep", heap.budget.limits().depth));
}

bool equal_items(Heap& heap, const std::vector<Value>& a, const std::vector<Value>& b, int depth) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!equal(heap, a[i], b[i], depth)) return false;
  }
  return true;
}

bool equal_dicts(Heap& heap, const Dict& a, const Dict& b, int depth) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = find(heap, b, key);
    if (!other || !equal(heap, value, *other, depth)) return false;
  }
  return true;
}

bool equal_numbers(const Value& a, const Value& b) {
  if (is<double>(a) || is<double>(b)) return to_double(a) == to_double(b);
  return need_int(a, "number") == need_int(b, "number");
}

}  // namespace

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(heap, depth);
  heap.budget.work(sizeof(Value));
  if (is_number(a) && is_number(b)) return equal_numbers(a, b);
  if (a.index() != b.index()) return false;
  if (const auto* t = as<TextRef>(a)) {
    const std::string &x = (*t)->bytes, &y = std::get<TextRef>(b)->bytes;
    if (x.size() == y.size()) heap.budget.work(x.size());
    return x == y;
  }
  if (const auto* s = as<Sequence*>(a)) {
    const auto* other = std::get<Sequence*>(b);
    return *s == other || ((*s)->kind == other->kind && equal_items(heap, (*s)->items, other->items, depth + 1));
  }
  if (const auto* d = as<Dict*>(a)) return *d == std::get<Dict*>(b) || equal_dicts(heap, **d, *std::get<Dict*>(b), depth + 1);
  if (const auto* o = as<Object*>(a)) return *o == std::get<Object*>(b);
  return true;  // both undefined, or both none
}

int compare(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(heap, depth);
  heap.budget.work(sizeof(Value));
  if (is_number(a) && is_number(b)) {
    if (!is<double>(a) && !is<double>(b)) {
      const int64_t x = need_int(a, "number"), y = need_int(b, "number");
      return (x > y) - (x < y);
    }
    const double x = to_double(a), y = to_double(b);
    return (x > y) - (x < y);
  }
  if (is<TextRef>(a) && is<TextRef>(b)) {  // the order of UTF-8 bytes is that of the code points
    const std::string &x = std::get<TextRef>(a)->bytes, &y = std::get<TextRef>(b)->bytes;
    heap.budget.work(std::min(x.size(), y.size()));
    const int order = x.compare(y);
    return (order > 0) - (order < 0);
  }
  if (is<Sequence*>(a) && is<Sequence*>(b)) {
    const auto &x = std::get<Sequence*>(a)->items, &y = std::get<Sequence*>(b)->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(heap, x[i], y[i], depth + 1)) return compare(heap, x[i], y[i], depth + 1);
    }
    return (x.size() > y.size()) - (x.size() < y.size());
  }
  if (const auto* u = as<Undefined>(a)) fail_undefined(*u);
  if (const auto* u = as<Undefined>(b)) fail_undefined(*u);
  fail(fmt::format("cannot order a '{}' and a '{}'", type_name(a), type_name(b)));
}

bool contains(Heap& heap, const Value& container, const Value& item) {
  if (is<Undefined>(container)) return false;
  if (const auto* t = as<TextRef>(container)) {
    heap.budget.work((*t)->bytes.size());
    return (*t)->bytes.find(need_text(item, "what is looked for in a string")->bytes) != std::string::npos;
  }
  if (const auto* s = as<Sequence*>(container)) {
    return std::any_of((*s)->items.begin(), (*s)->items.end(), [&](const Value& v) { return equal(heap, v, item); });
  }
  if (const auto* d = as<Dict*>(container)) return find(heap, **d, item) != nullptr;
  fail_type("'in' needs a string, list or mapping", container);
}

const Value* find(Heap& heap, const Dict& d, const Value& key) {
  for (const auto& [k, v] : d.items) {
    if (equal(heap, k, key)) return &v;
  }
  return nullptr;
}

Sequence* iterate(Heap& heap, const Value& v) {
  if (const auto* s = as<Sequence*>(v)) return *s;
  if (const auto* d = as<Dict*>(v)) {
    auto* keys = heap.sequence(SequenceKind::kGenerator, (*d)->items.size());
    for (const auto& [key, value] : (*d)->items) keys->items.push_back(key);
    return keys;
  }
  if (const auto* t = as<TextRef>(v)) {
    auto* characters = heap.sequence(SequenceKind::kGenerator, (*t)->length);
    const std::string& bytes = (*t)->bytes;
    for (size_t i = 0; i < bytes.size();) {
      const size_t n = decode(bytes, i).bytes;
      characters->items.emplace_back(heap.cut(*t, i, i + n));
      i += n;
    }
    return characters;
  }
  if (is<Undefined>(v)) return heap.sequence(SequenceKind::kGenerator);
  fail_type("only strings, lists and mappings can be looped over", v);
}

int64_t length_of(const Value& v) {
  if (const auto* t = as<TextRef>(v)) return static_cast<int64_t>((*t)->length);
  if (const auto* d = as<Dict*>(v)) return static_cast<int64_t>((*d)->items.size());
  if (is<Undefined>(v)) return 0;
  const auto* s = as<Sequence*>(v);
  if (!s || (*s)->kind == SequenceKind::kGenerator) fail_type("only strings, lists and mappings have a length", v);
  return static_cast<int64_t>((*s)->items.size());
}

// repr(float): the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16 on.
std::string float_repr(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  const double magnitude = std::fabs(v);
  const bool exponent = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  char buffer[64];
  const auto format = exponent ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v, format);
  std::string s(buffer, end.ptr);
  if (!exponent && s.find('.') == std::string::npos) s += ".0";
  return s;
}

namespace {

// repr() of values inside lists and mappings, str() of the outermost.
class Printer {
 public:
  explicit Printer(Heap& heap) : heap_(heap), out_(heap.budget) {}

  void print(const Value& v, int depth) {
    check_depth(heap_, depth);
    if (const auto* t = as<TextRef>(v)) return print_quoted(**t);
    if (const auto* s = as<Sequence*>(v); s && (*s)->kind != SequenceKind::kGenerator) return print_sequence(**s, depth);
    if (const auto* d = as<Dict*>(v)) return print_dict(**d, depth);
    if (const auto* b = as<bool>(v)) return put(*b ? "True" : "False");
    if (const auto* i = as<int64_t>(v)) return put(std::to_string(*i));
    if (const auto* f = as<double>(v)) return put(float_repr(*f));
    if (is<None>(v)) return put("None");
    if (is<Undefined>(v)) return put(depth == 0 ? "" : "Undefined");
    put(fmt::format("<{}>", type_name(v)));
  }
  TextRef finish() { return out_.finish_as(trusted_); }

 private:
  void put(std::string_view s) { out_.append(s, true); }

  void print_sequence(const Sequence& s, int depth) {
    const bool tuple = s.kind == SequenceKind::kTuple;
    put(tuple ? "(" : "[");
    for (size_t i = 0; i < s.items.size(); ++i) {
      if (i) put(", ");
      print(s.items[i], depth + 1);
    }
    put(!tuple ? "]" : s.items.size() == 1 ? ",)" : ")");
  }

  void print_dict(const Dict& d, int depth) {
    put("{");
    for (size_t i = 0; i < d.items.size(); ++i) {
      if (i) put(", ");
      print(d.items[i].first, depth + 1);
      put(": ");
      print(d.items[i].second, depth + 1);
    }
    put("}");
  }

  // Single quotes, unless the text has some and no double ones.
  void print_quoted(const Text& t) {
    trusted_ = trusted_ && t.trusted();
    const bool has_single = t.bytes.find('\'') != std::string::npos, has_double = t.bytes.find('"') != std::string::npos;
    const char quote = has_single && !has_double ? '"' : '\'';
    std::string s(1, quote);
    for (const char c : t.bytes) {
      const auto code = static_cast<unsigned char>(c);
      if (c == quote || c == '\\') s += '\\', s += c;
      else if (c == '\n') s += "\\n";
      else if (c == '\r') s += "\\r";
      else if (c == '\t') s += "\\t";
      else if (code < 0x20 || code == 0x7F) s += fmt::format("\\x{:02x}", code);
      else s += c;
    }
    put(s + quote);
  }

  Heap& heap_;
  TextBuilder out_;
  bool trusted_ = true;
};

}  // namespace

TextRef to_text(Heap& heap, const Value& v) {
  if (const auto* t = as<TextRef>(v)) return *t;
  Printer printer(heap);
  printer.print(v, 0);
  return printer.finish();
}

}  // namespace sluice::jinja
