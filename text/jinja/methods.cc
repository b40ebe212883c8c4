#include "text/jinja/methods.h"

#include <algorithm>

#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

const TextRef& text_of(const Value& v) { return std::get<TextRef>(v); }
Sequence* list_of(const Value& v) { return std::get<Sequence*>(v); }
Dict* dict_of(const Value& v) { return std::get<Dict*>(v); }

// ---- strings

template <bool left, bool right>
Value strip_method(Heap& heap, const Value& self, const Bound& args) {
  return strip_text(heap, text_of(self), args.optional(0), left, right);
}

template <std::string (*convert)(std::string_view)>
Value convert_method(Heap& heap, const Value& self, const Bound&) {
  heap.budget.work(text_of(self)->bytes.size());
  return heap.text(convert(text_of(self)->bytes), text_of(self)->trusted());
}

// The pieces between separators, at most max_splits + 1 of them; negative: all.
void split_at(Heap& heap, const TextRef& t, std::string_view separator, int64_t max_splits, Sequence* out) {
  const std::string_view s = t->bytes;
  size_t begin = 0;
  for (size_t at; max_splits != 0 && (at = s.find(separator, begin)) != std::string_view::npos; --max_splits) {
    heap.push(out, heap.cut(t, begin, at));
    begin = at + separator.size();
  }
  heap.push(out, heap.cut(t, begin, s.size()));
}

void rsplit_at(Heap& heap, const TextRef& t, std::string_view separator, int64_t max_splits, Sequence* out) {
  const std::string_view s = t->bytes;
  size_t end = s.size();
  for (; max_splits != 0 && end >= separator.size(); --max_splits) {
    const size_t at = s.rfind(separator, end - separator.size());
    if (at == std::string_view::npos) break;
    heap.push(out, heap.cut(t, at + separator.size(), end));
    end = at;
  }
  heap.push(out, heap.cut(t, 0, end));
  std::reverse(out->items.begin(), out->items.end());
}

// By runs of white space; what is left after the last split keeps its white space.
void split_words(Heap& heap, const TextRef& t, int64_t max_splits, Sequence* out) {
  const std::string_view s = t->bytes;
  size_t begin = strip(s, nullptr, true, false).begin;
  while (begin < s.size()) {
    size_t end = begin;
    while (end < s.size() && !is_space(decode(s, end).value)) end += decode(s, end).bytes;
    if (max_splits-- == 0) end = s.size();
    heap.push(out, heap.cut(t, begin, end));
    begin = end + strip(s.substr(end), nullptr, true, false).begin;
  }
}

void rsplit_words(Heap& heap, const TextRef& t, int64_t max_splits, Sequence* out) {
  const std::string_view s = t->bytes;
  size_t end = strip(s, nullptr, false, true).end;
  while (end > 0) {
    size_t begin = end;
    while (begin > 0 && !is_space(decode(s, code_point_before(s, begin)).value)) begin = code_point_before(s, begin);
    if (max_splits-- == 0) begin = 0;
    heap.push(out, heap.cut(t, begin, end));
    end = strip(s.substr(0, begin), nullptr, false, true).end;
  }
  std::reverse(out->items.begin(), out->items.end());
}

template <bool from_right>
Value split_method(Heap& heap, const Value& self, const Bound& args) {
  const TextRef& t = text_of(self);
  const int64_t max_splits = args.integer(1, -1);
  heap.budget.work(t->bytes.size());
  auto* out = heap.sequence(SequenceKind::kList);
  if (!args.optional(0)) {
    (from_right ? rsplit_words : split_words)(heap, t, max_splits, out);
    return out;
  }
  const std::string& separator = need_text(args[0], "a separator")->bytes;
  if (separator.empty()) fail("the separator of a split is empty");
  (from_right ? rsplit_at : split_at)(heap, t, separator, max_splits, out);
  return out;
}

Value splitlines_method(Heap& heap, const Value& self, const Bound&) {
  const TextRef& t = text_of(self);
  heap.budget.work(t->bytes.size());
  auto* out = heap.sequence(SequenceKind::kList);
  each_line(t->bytes, [&](Span line) { heap.push(out, heap.cut(t, line.begin, line.end)); });
  return out;
}

// (before, separator, after) at the first place, or with the whole text at one end.
template <bool from_right>
Value partition_method(Heap& heap, const Value& self, const Bound& args) {
  const TextRef& t = text_of(self);
  const TextRef& separator = need_text(args[0], "a separator");
  if (separator->bytes.empty()) fail("the separator of a partition is empty");
  heap.budget.work(t->bytes.size());
  const size_t size = t->bytes.size();
  const size_t at = from_right ? t->bytes.rfind(separator->bytes) : t->bytes.find(separator->bytes);
  const bool found = at != std::string::npos;
  const size_t begin = found ? at : from_right ? 0 : size, end = found ? at + separator->bytes.size() : begin;
  auto* tuple = heap.sequence(SequenceKind::kTuple, 3);
  for (const Span& s : {Span{0, begin}, Span{begin, end}, Span{end, size}}) tuple->items.emplace_back(heap.cut(t, s.begin, s.end));
  return tuple;
}

template <bool at_end>
bool has_affix(std::string_view s, const Value& affix) {
  const auto matches = [&](const Value& v) {
    const std::string& a = need_text(v, "what a string begins or ends with")->bytes;
    return at_end ? s.ends_with(a) : s.starts_with(a);
  };
  const auto* options = as<Sequence*>(affix);  // a tuple: any of them
  if (!options || (*options)->kind != SequenceKind::kTuple) return matches(affix);
  return std::any_of((*options)->items.begin(), (*options)->items.end(), matches);
}

template <bool at_end>
Value has_affix_method(Heap&, const Value& self, const Bound& args) {
  return has_affix<at_end>(text_of(self)->bytes, args[0]);
}

template <bool at_end>
Value remove_affix_method(Heap& heap, const Value& self, const Bound& args) {
  const TextRef& t = text_of(self);
  const std::string& affix = need_text(args[0], "an affix")->bytes;
  if (!has_affix<at_end>(t->bytes, args[0])) return t;
  return at_end ? heap.cut(t, 0, t->bytes.size() - affix.size()) : heap.cut(t, affix.size(), t->bytes.size());
}

Value replace_method(Heap& heap, const Value& self, const Bound& args) {
  return replace_text(heap, text_of(self), *need_text(args[0], "old"), *need_text(args[1], "new"), args.integer(2, -1));
}

template <bool from_right>
int64_t position(Heap& heap, const Value& self, const Bound& args) {
  const std::string &s = text_of(self)->bytes, &what = need_text(args[0], "what is looked for")->bytes;
  heap.budget.work(s.size());
  const size_t at = from_right ? s.rfind(what) : s.find(what);
  return at == std::string::npos ? -1 : static_cast<int64_t>(count_code_points(std::string_view(s).substr(0, at)));
}

template <bool from_right>
Value find_method_of_text(Heap& heap, const Value& self, const Bound& args) {
  return position<from_right>(heap, self, args);
}

Value index_of_text(Heap& heap, const Value& self, const Bound& args) {
  const int64_t at = position<false>(heap, self, args);
  if (at < 0) fail("substring not found");
  return at;
}

Value count_in_text(Heap& heap, const Value& self, const Bound& args) {
  const std::string &s = text_of(self)->bytes, &what = need_text(args[0], "what is counted")->bytes;
  if (what.empty()) return static_cast<int64_t>(text_of(self)->length) + 1;
  heap.budget.work(s.size());
  int64_t n = 0;
  for (size_t at = s.find(what); at != std::string::npos; at = s.find(what, at + what.size())) ++n;
  return n;
}

Value join_method(Heap& heap, const Value& self, const Bound& args) {
  TextBuilder out(heap.budget);
  bool first = true;
  for (const Value& v : iterate(heap, args[0])->items) {
    if (!std::exchange(first, false)) out.append(*text_of(self));
    out.append(*need_text(v, "an item to join"));
  }
  return out.finish();
}

// Every code point is of the kind, and there is one.
template <class F>
bool all_code_points(Heap& heap, const std::string& s, F test) {
  heap.budget.work(s.size());
  for (size_t i = 0; i < s.size();) {
    const CodePoint c = decode(s, i);
    if (!test(c.value)) return false;
    i += c.bytes;
  }
  return !s.empty();
}

bool is_ascii_digit(uint32_t c) { return c >= '0' && c <= '9'; }
Value isdigit_method(Heap& heap, const Value& self, const Bound&) {
  return all_code_points(heap, text_of(self)->bytes, is_ascii_digit);
}
Value isspace_method(Heap& heap, const Value& self, const Bound&) { return all_code_points(heap, text_of(self)->bytes, is_space); }
Value isalpha_method(Heap& heap, const Value& self, const Bound&) { return all_code_points(heap, text_of(self)->bytes, is_letter); }
Value isalnum_method(Heap& heap, const Value& self, const Bound&) {
  return all_code_points(heap, text_of(self)->bytes, [](uint32_t c) { return is_ascii_digit(c) || is_letter(c); });
}
Value islower_method(Heap&, const Value& self, const Bound&) {
  const std::string& s = text_of(self)->bytes;
  return s == to_lower(s) && s != to_upper(s);
}
Value isupper_method(Heap&, const Value& self, const Bound&) {
  const std::string& s = text_of(self)->bytes;
  return s == to_upper(s) && s != to_lower(s);
}

// ---- mappings

Value get_method(Heap& heap, const Value& self, const Bound& args) {
  if (const Value* v = find(heap, *dict_of(self), args[0])) return *v;
  return args.find(1) ? args[1] : Value(None{});
}

Value items_method(Heap& heap, const Value& self, const Bound&) { return dict_items(heap, *dict_of(self)); }

Value keys_method(Heap& heap, const Value& self, const Bound&) {
  Sequence* keys = iterate(heap, self);
  keys->kind = SequenceKind::kList;
  return keys;
}

Value values_method(Heap& heap, const Value& self, const Bound&) {
  auto* values = heap.sequence(SequenceKind::kList, dict_of(self)->items.size());
  for (const auto& [key, value] : dict_of(self)->items) values->items.push_back(value);
  return values;
}

Value copy_dict(Heap& heap, const Value& self, const Bound&) {
  auto* copy = heap.dict(dict_of(self)->items.size());
  for (const auto& item : dict_of(self)->items) copy->items.push_back(item);
  return copy;
}

// ---- lists

Value append_method(Heap& heap, const Value& self, const Bound& args) {
  if (list_of(self)->kind != SequenceKind::kList) fail("only a list can be appended to");
  heap.push(list_of(self), args[0]);
  return None{};
}

Value index_in_list(Heap& heap, const Value& self, const Bound& args) {
  const auto& items = list_of(self)->items;
  const auto found = std::find_if(items.begin(), items.end(), [&](const Value& v) { return equal(heap, v, args[0]); });
  if (found == items.end()) fail("the item is not in the list");
  return static_cast<int64_t>(found - items.begin());
}

Value count_in_list(Heap& heap, const Value& self, const Bound& args) {
  const auto& items = list_of(self)->items;
  return static_cast<int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& v) { return equal(heap, v, args[0]); }));
}

const std::vector<MethodSpec>& text_methods() {
  static const std::vector<MethodSpec> kMethods = {
      {{"strip", {"chars"}}, strip_method<true, true>},
      {{"lstrip", {"chars"}}, strip_method<true, false>},
      {{"rstrip", {"chars"}}, strip_method<false, true>},
      {{"split", {"sep", "maxsplit"}}, split_method<false>},
      {{"rsplit", {"sep", "maxsplit"}}, split_method<true>},
      {{"splitlines", {}}, splitlines_method},
      {{"partition", {"sep"}, 1}, partition_method<false>},
      {{"rpartition", {"sep"}, 1}, partition_method<true>},
      {{"startswith", {"prefix"}, 1}, has_affix_method<false>},
      {{"endswith", {"suffix"}, 1}, has_affix_method<true>},
      {{"removeprefix", {"prefix"}, 1}, remove_affix_method<false>},
      {{"removesuffix", {"suffix"}, 1}, remove_affix_method<true>},
      {{"replace", {"old", "new", "count"}, 2}, replace_method},
      {{"find", {"sub"}, 1}, find_method_of_text<false>},
      {{"rfind", {"sub"}, 1}, find_method_of_text<true>},
      {{"index", {"sub"}, 1}, index_of_text},
      {{"count", {"sub"}, 1}, count_in_text},
      {{"join", {"iterable"}, 1}, join_method},
      {{"upper", {}}, convert_method<to_upper>},
      {{"lower", {}}, convert_method<to_lower>},
      {{"capitalize", {}}, convert_method<capitalize>},
      {{"title", {}}, convert_method<title_by_letters>},
      {{"isdigit", {}}, isdigit_method},
      {{"isspace", {}}, isspace_method},
      {{"isalpha", {}}, isalpha_method},
      {{"isalnum", {}}, isalnum_method},
      {{"islower", {}}, islower_method},
      {{"isupper", {}}, isupper_method},
  };
  return kMethods;
}

const std::vector<MethodSpec>& dict_methods() {
  static const std::vector<MethodSpec> kMethods = {
      {{"get", {"key", "default"}, 1}, get_method},
      {{"items", {}}, items_method},
      {{"keys", {}}, keys_method},
      {{"values", {}}, values_method},
      {{"copy", {}}, copy_dict},
  };
  return kMethods;
}

const std::vector<MethodSpec>& list_methods() {
  static const std::vector<MethodSpec> kMethods = {
      {{"append", {"object"}, 1}, append_method},
      {{"index", {"value"}, 1}, index_in_list},
      {{"count", {"value"}, 1}, count_in_list},
  };
  return kMethods;
}

struct BoundMethod : Object {
  BoundMethod(Heap& heap, const MethodSpec& method, Value self) : heap(heap), method(method), self(std::move(self)) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Arguments& args) override { return call_method(heap, method, self, args); }

  Heap& heap;
  const MethodSpec& method;
  const Value self;
};

}  // namespace

const MethodSpec* find_method(const Value& self, std::string_view name) {
  const std::vector<MethodSpec>* table = is<TextRef>(self)     ? &text_methods()
                                         : is<Dict*>(self)     ? &dict_methods()
                                         : is<Sequence*>(self) ? &list_methods()
                                                               : nullptr;
  if (!table) return nullptr;
  const auto found = std::find_if(table->begin(), table->end(), [&](const MethodSpec& m) { return m.signature.name == name; });
  return found == table->end() ? nullptr : &*found;
}

Value call_method(Heap& heap, const MethodSpec& method, const Value& self, Arguments& args) {
  return method.apply(heap, self, Bound(method.signature, args));
}

Value bind_method(Heap& heap, const Value& self, const TextRef& name) {
  return heap.make<BoundMethod>(heap, *find_method(self, name->bytes), self);
}

Value strip_text(Heap& heap, const TextRef& text, const Value* chars, bool left, bool right) {
  std::string_view set;
  if (chars) set = need_text(*chars, "chars")->bytes;
  heap.budget.work(text->bytes.size());
  const Span kept = strip(text->bytes, chars ? &set : nullptr, left, right);
  return heap.cut(text, kept.begin, kept.end);
}

Value replace_text(Heap& heap, const TextRef& text, const Text& from, const Text& to, int64_t count) {
  const std::string& s = text->bytes;
  TextBuilder out(heap.budget);
  size_t kept = 0, search = 0;
  for (; count != 0; --count) {
    const size_t at = search <= s.size() ? s.find(from.bytes, search) : std::string::npos;
    if (at == std::string::npos) break;
    out.append(*text, kept, at);
    out.append(to);
    heap.budget.work(at - kept + 1);
    kept = at + from.bytes.size();
    // An empty `from` is found before every code point and at the end.
    search = !from.bytes.empty() ? kept : at < s.size() ? at + decode(s, at).bytes : s.size() + 1;
  }
  if (kept == 0 && out.bytes().empty()) return text;
  out.append(*text, kept, s.size());
  return out.finish();
}

Sequence* dict_items(Heap& heap, const Dict& d) {
  auto* items = heap.sequence(SequenceKind::kList, d.items.size());
  for (const auto& [key, value] : d.items) {
    auto* pair = heap.sequence(SequenceKind::kTuple, 2);
    pair->items = {key, value};
    items->items.emplace_back(pair);
  }
  return items;
}

}  // namespace sluice::jinja
