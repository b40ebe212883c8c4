// The values of a template, with Python's rules for truth, equality, order and text.
//
// Text remembers where each byte came from: literals of the template are trusted, strings of the request are not. Pieces that are
// joined or cut keep their marks; what is computed from any untrusted byte (case, JSON, a printed list) is untrusted as a whole.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/budget.h"

namespace sluice::jinja {

// Which bytes of a string are trusted: the kind of the first byte, and the places where it changes.
class Marks {
 public:
  static Marks all(bool trusted) {
    Marks m;
    m.first_ = trusted;
    return m;
  }
  // The bytes from `at`, the present end, on.
  void append(size_t at, bool trusted) {
    if (at == 0) {
      *this = all(trusted);
    } else if (last() != trusted) {
      flips_.push_back(at);
    }
  }
  bool all_trusted() const { return first_ && flips_.empty(); }
  size_t flips() const { return flips_.size(); }
  // f(begin, end, trusted) for every run of [begin, end).
  template <class F>
  void each(size_t begin, size_t end, F f) const {
    bool trusted = first_;
    for (const size_t flip : flips_) {
      if (flip >= end) break;
      if (flip > begin) f(std::exchange(begin, flip), flip, trusted);
      trusted = !trusted;
    }
    if (begin < end) f(begin, end, trusted);
  }

 private:
  bool last() const { return first_ != (flips_.size() % 2 == 1); }

  bool first_ = true;
  std::vector<size_t> flips_;
};

// An immutable string. Literals of the template have no budget: they outlive a rendering.
struct Text {
  Text(Budget* budget, std::string bytes, Marks marks);
  ~Text();
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;

  bool ascii() const { return length == bytes.size(); }
  bool trusted() const { return bytes.empty() || marks.all_trusted(); }
  size_t cost() const;

  const std::string bytes;  // UTF-8
  const Marks marks;
  const size_t length;  // code points
  Budget* const budget;
};
using TextRef = std::shared_ptr<const Text>;

// Grows a Text, and stops before it grows too much.
class TextBuilder {
 public:
  explicit TextBuilder(Budget& budget, size_t limit = SIZE_MAX) : budget_(budget), limit_(limit) {}
  ~TextBuilder() { budget_.give(bytes_.size()); }
  TextBuilder(const TextBuilder&) = delete;
  TextBuilder& operator=(const TextBuilder&) = delete;

  void append(std::string_view s, bool trusted);
  void append(const Text& t) { append(t, 0, t.bytes.size()); }
  void append(const Text& t, size_t begin, size_t end);
  TextRef finish();
  // One mark for all: for text that was computed, not put together.
  TextRef finish_as(bool trusted);
  const std::string& bytes() const { return bytes_; }
  const Marks& marks() const { return marks_; }

 private:
  void grow(size_t bytes);
  TextRef release(Marks marks);

  Budget& budget_;
  const size_t limit_;
  std::string bytes_;
  Marks marks_;
};

struct Undefined {
  TextRef name;  // for the error when it is used
};
struct None {};
struct Sequence;
struct Dict;
struct Object;

using Value = std::variant<Undefined, None, bool, int64_t, double, TextRef, Sequence*, Dict*, Object*>;

// Everything but text lives in the heap until the rendering ends, so values may refer to each other in any way.
struct Node {
  virtual ~Node() = default;
};

enum class SequenceKind { kList, kTuple, kGenerator };  // a generator is what Jinja's lazy filters return: true even if empty

struct Sequence : Node {
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
};

struct Dict : Node {
  std::vector<std::pair<Value, Value>> items;  // in the order of insertion
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Namespaces, loops, macros, functions.
struct Object : Node {
  virtual std::string_view type_name() const = 0;
  virtual Value attribute(std::string_view name);  // Undefined where there is none
  virtual void set_attribute(const TextRef& name, Value value);
  virtual Value call(Arguments& args);
  virtual bool callable() const { return false; }
};

class Heap {
 public:
  explicit Heap(Budget& budget) : budget(budget) {}

  TextRef text(std::string bytes, bool trusted) { return text(std::move(bytes), Marks::all(trusted)); }
  TextRef text(std::string bytes, Marks marks);
  TextRef cut(const TextRef& text, size_t begin, size_t end);  // bytes [begin, end)
  Sequence* sequence(SequenceKind kind, size_t reserve = 0);
  Dict* dict(size_t reserve = 0);
  void push(Sequence* s, Value v);
  void set(Dict* d, Value key, Value v);
  template <class T, class... A>
  T* make(A&&... args) {
    budget.take(sizeof(T) + kNodeOverhead);
    auto owned = std::make_unique<T>(std::forward<A>(args)...);
    T* node = owned.get();
    nodes_.push_back(std::move(owned));
    return node;
  }

  Budget& budget;

 private:
  static constexpr size_t kNodeOverhead = 48;  // allocator header and the pointer in nodes_

  std::vector<std::unique_ptr<Node>> nodes_;
};

template <class T>
bool is(const Value& v) {
  return std::holds_alternative<T>(v);
}
template <class T>
const T* as(const Value& v) {
  return std::get_if<T>(&v);
}

std::string_view type_name(const Value& v);  // as Python spells it
bool truth(const Value& v);
bool is_number(const Value& v);  // int, float, bool
double to_double(const Value& number);
int64_t need_int(const Value& v, std::string_view what);
const TextRef& need_text(const Value& v, std::string_view what);
[[noreturn]] void fail_undefined(const Undefined& u);
[[noreturn]] void fail_type(std::string_view what, const Value& v);  // "what: got a 'type'"

bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);
int compare(Heap& heap, const Value& a, const Value& b, int depth = 0);  // order; fails where Python has none
bool contains(Heap& heap, const Value& container, const Value& item);
const Value* find(Heap& heap, const Dict& d, const Value& key);
Sequence* iterate(Heap& heap, const Value& v);  // what a for loop sees
int64_t length_of(const Value& v);

std::string float_repr(double v);
TextRef to_text(Heap& heap, const Value& v);  // str(v)

}  // namespace sluice::jinja
