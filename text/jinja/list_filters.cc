// The filters of lists and mappings. Those that Jinja makes lazy return generators, which are true even if empty.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "text/jinja/filters.h"
#include "text/jinja/json.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/tests.h"
#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

// "a.b.0": attributes or positions, one after the other. Takes an integer too.
class Path {
 public:
  Path(Heap& heap, const Value& attribute) : heap_(heap) {
    if (is<int64_t>(attribute)) {
      steps_.push_back(attribute);
      return;
    }
    const TextRef& t = need_text(attribute, "attribute");
    const std::string& s = t->bytes;
    for (size_t begin = 0; begin <= s.size();) {
      const size_t end = std::min(s.find('.', begin), s.size());
      int64_t i;
      const bool position = begin < end && std::from_chars(s.data() + begin, s.data() + end, i).ptr == s.data() + end;
      steps_.push_back(position ? Value(i) : Value(heap.cut(t, begin, end)));
      begin = end + 1;
    }
  }

  Value operator()(const Value& v) const {
    Value at = v;
    for (const Value& step : steps_) at = get_item(heap_, at, step);
    return at;
  }

 private:
  Heap& heap_;
  std::vector<Value> steps_;
};

// What sort, min, max and unique compare: the item or an attribute of it, in small letters unless case matters.
class SortKey {
 public:
  SortKey(Heap& heap, const Value* attribute, bool case_sensitive) : heap_(heap), case_sensitive_(case_sensitive) {
    if (!attribute) return;
    if (!is<TextRef>(*attribute)) {
      paths_.emplace_back(heap, *attribute);
      return;
    }
    const TextRef& t = std::get<TextRef>(*attribute);
    for (size_t begin = 0; begin <= t->bytes.size();) {  // "a,b": by a, then by b
      const size_t end = std::min(t->bytes.find(',', begin), t->bytes.size());
      paths_.emplace_back(heap, heap.cut(t, begin, end));
      begin = end + 1;
    }
  }

  Value operator()(const Value& v) const {
    if (paths_.empty()) return folded(v);
    if (paths_.size() == 1) return folded(paths_[0](v));
    auto* keys = heap_.sequence(SequenceKind::kTuple, paths_.size());
    for (const Path& path : paths_) keys->items.push_back(folded(path(v)));
    return keys;
  }

 private:
  Value folded(Value v) const {
    const auto* t = as<TextRef>(v);
    if (case_sensitive_ || !t) return v;
    return heap_.text(to_lower((*t)->bytes), (*t)->trusted());
  }

  Heap& heap_;
  bool case_sensitive_;
  std::vector<Path> paths_;
};

Value list_filter(Heap& heap, const Value& in, const Bound&) {
  const Sequence* from = iterate(heap, in);
  auto* list = heap.sequence(SequenceKind::kList, from->items.size());
  list->items.assign(from->items.begin(), from->items.end());
  return list;
}

Value length_filter(Heap&, const Value& in, const Bound&) { return length_of(in); }

Value first_filter(Heap& heap, const Value& in, const Bound&) {
  const Sequence* s = iterate(heap, in);
  return s->items.empty() ? Value(Undefined{}) : s->items.front();
}

Value last_filter(Heap& heap, const Value& in, const Bound&) {
  const Sequence* s = iterate(heap, in);
  return s->items.empty() ? Value(Undefined{}) : s->items.back();
}

Value reverse_filter(Heap& heap, const Value& in, const Bound&) {
  if (is<TextRef>(in)) {
    const Value step = int64_t{-1};
    return get_slice(heap, in, nullptr, nullptr, &step);
  }
  const Sequence* from = iterate(heap, in);
  auto* out = heap.sequence(SequenceKind::kGenerator, from->items.size());
  out->items.assign(from->items.rbegin(), from->items.rend());
  return out;
}

Value items_filter(Heap& heap, const Value& in, const Bound&) {
  if (is<Undefined>(in)) return heap.sequence(SequenceKind::kGenerator);
  if (!is<Dict*>(in)) fail_type("'items' takes a mapping", in);
  Sequence* items = dict_items(heap, *std::get<Dict*>(in));
  items->kind = SequenceKind::kGenerator;
  return items;
}

Value join_filter(Heap& heap, const Value& in, const Bound& args) {
  const TextRef separator = args.find(0) ? to_text(heap, args[0]) : heap.text("", true);
  const std::optional<Path> path = args.optional(1) ? std::optional<Path>(std::in_place, heap, args[1]) : std::nullopt;
  TextBuilder out(heap.budget);
  bool first = true;
  for (const Value& v : iterate(heap, in)->items) {
    if (!std::exchange(first, false)) out.append(*separator);
    out.append(*to_text(heap, path ? (*path)(v) : v));
  }
  return out.finish();
}

// Sorts items by their keys; equal ones keep their order, in reverse too.
Sequence* sorted(Heap& heap, const Sequence& in, const SortKey& key, bool reverse) {
  using Keyed = std::pair<Value, Value>;
  const size_t bytes = in.items.size() * 2 * sizeof(Keyed);  // and as much for the merge
  heap.budget.take(bytes);
  std::vector<Keyed> keyed;
  keyed.reserve(in.items.size());
  for (const Value& v : in.items) keyed.emplace_back(key(v), v);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    return compare(heap, reverse ? b.first : a.first, reverse ? a.first : b.first) < 0;
  });
  auto* out = heap.sequence(SequenceKind::kList, keyed.size());
  for (Keyed& k : keyed) out->items.push_back(std::move(k.second));
  heap.budget.give(bytes);
  return out;
}

Value sort_filter(Heap& heap, const Value& in, const Bound& args) {
  return sorted(heap, *iterate(heap, in), SortKey(heap, args.optional(2), args.flag(1)), args.flag(0));
}

Value dictsort_filter(Heap& heap, const Value& in, const Bound& args) {
  if (!is<Dict*>(in)) fail_type("'dictsort' takes a mapping", in);
  const std::string by = args.find(1) ? need_text(args[1], "by")->bytes : "key";
  if (by != "key" && by != "value") fail("'dictsort' sorts by 'key' or 'value'");
  const Value position = int64_t{by == "value"};
  return sorted(heap, *dict_items(heap, *std::get<Dict*>(in)), SortKey(heap, &position, args.flag(0)), args.flag(2));
}

template <bool largest>
Value extreme_filter(Heap& heap, const Value& in, const Bound& args) {
  const SortKey key(heap, args.optional(1), args.flag(0));
  Value best = Undefined{}, best_key;
  for (const Value& v : iterate(heap, in)->items) {
    Value k = key(v);
    const bool better = is<Undefined>(best) || (largest ? compare(heap, k, best_key) > 0 : compare(heap, k, best_key) < 0);
    if (!better) continue;
    best = v;
    best_key = std::move(k);
  }
  return best;
}

Value unique_filter(Heap& heap, const Value& in, const Bound& args) {
  const SortKey key(heap, args.optional(1), args.flag(0));
  auto* seen = heap.dict();
  auto* out = heap.sequence(SequenceKind::kGenerator);
  for (const Value& v : iterate(heap, in)->items) {
    Value k = key(v);
    if (find(heap, *seen, k)) continue;
    heap.set(seen, std::move(k), None{});
    heap.push(out, v);
  }
  return out;
}

Value sum_filter(Heap& heap, const Value& in, const Bound& args) {
  const std::optional<Path> path = args.optional(0) ? std::optional<Path>(std::in_place, heap, args[0]) : std::nullopt;
  Value total = args.find(1) ? args[1] : Value(int64_t{0});
  for (const Value& v : iterate(heap, in)->items) total = binary(heap, BinaryOp::kAdd, total, path ? (*path)(v) : v);
  return total;
}

// The arguments from the i-th on, for the filter or test that an argument names.
Arguments tail(const Arguments& args, size_t i) {
  Arguments rest;
  rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(std::min(i, args.positional.size())),
                         args.positional.end());
  rest.named = args.named;
  return rest;
}

// map('name', ...) or map(attribute='a', default=...).
Value map_filter(Heap& heap, const Value& in, const Bound& bound) {
  const Arguments& args = bound.all();
  const Sequence* from = iterate(heap, in);
  auto* out = heap.sequence(SequenceKind::kGenerator, from->items.size());
  if (!args.positional.empty()) {
    const std::string& name = need_text(args.positional[0], "the name of a filter")->bytes;
    const FilterSpec* filter = find_filter(name);
    if (!filter) fail(fmt::format("no filter is named '{}'", name));
    Arguments rest = tail(args, 1);
    for (size_t i = 0; i < from->items.size(); ++i) {
      heap.budget.step();
      out->items.push_back(apply_filter(heap, *filter, from->items[i], rest));
    }
    return out;
  }
  const Value *attribute = nullptr, *otherwise = nullptr;
  for (const auto& [name, value] : args.named) {
    if (name != "attribute" && name != "default") fail(fmt::format("'map' has no parameter '{}'", name));
    (name == "attribute" ? attribute : otherwise) = &value;
  }
  if (!attribute) fail("'map' needs the name of a filter, or an attribute");
  const Path path(heap, *attribute);
  for (const Value& item : from->items) {
    Value v = path(item);
    out->items.push_back(is<Undefined>(v) && otherwise ? *otherwise : std::move(v));
  }
  return out;
}

// select(test, ...), reject(test, ...), selectattr(attribute, test, ...), rejectattr(attribute, test, ...); no test: truth.
template <bool by_attribute, bool keep_if>
Value select_filter(Heap& heap, const Value& in, const Bound& bound) {
  const Arguments& args = bound.all();
  if (by_attribute && args.positional.empty()) fail("an attribute is needed to select by");
  const std::optional<Path> path = by_attribute ? std::optional<Path>(std::in_place, heap, args.positional[0]) : std::nullopt;
  const TestSpec* test = nullptr;
  if (args.positional.size() > by_attribute) {
    const std::string& name = need_text(args.positional[by_attribute], "the name of a test")->bytes;
    test = find_test(name);
    if (!test) fail(fmt::format("no test is named '{}'", name));
  }
  Arguments rest = tail(args, by_attribute + 1);
  auto* out = heap.sequence(SequenceKind::kGenerator);
  for (const Value& v : iterate(heap, in)->items) {
    heap.budget.step();
    const Value tested = path ? (*path)(v) : v;
    if ((test ? apply_test(heap, *test, tested, rest) : truth(tested)) == keep_if) heap.push(out, v);
  }
  return out;
}

}  // namespace

std::span<const FilterSpec> list_filters() {
  static const std::vector<FilterSpec> kFilters = {
      {{"list", {}}, list_filter},
      {{"length", {}}, length_filter},
      {{"count", {}}, length_filter},
      {{"first", {}}, first_filter},
      {{"last", {}}, last_filter},
      {{"reverse", {}}, reverse_filter},
      {{"items", {}}, items_filter},
      {{"join", {"d", "attribute"}}, join_filter},
      {{"sort", {"reverse", "case_sensitive", "attribute"}}, sort_filter},
      {{"dictsort", {"case_sensitive", "by", "reverse"}}, dictsort_filter},
      {{"min", {"case_sensitive", "attribute"}}, extreme_filter<false>},
      {{"max", {"case_sensitive", "attribute"}}, extreme_filter<true>},
      {{"unique", {"case_sensitive", "attribute"}}, unique_filter},
      {{"sum", {"attribute", "start"}}, sum_filter},
      {{"map", {}, 0, true}, map_filter},
      {{"select", {}, 0, true}, select_filter<false, true>},
      {{"reject", {}, 0, true}, select_filter<false, false>},
      {{"selectattr", {}, 0, true}, select_filter<true, true>},
      {{"rejectattr", {}, 0, true}, select_filter<true, false>},
  };
  return kFilters;
}

}  // namespace sluice::jinja
