#include "text/jinja/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>

#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

void check_depth(const Heap& heap, int depth) {
  if (depth > heap.budget.limits().depth) exhausted(fmt::format("JSON is nested more than {} deep", heap.budget.limits().depth));
}

class Writer {
 public:
  Writer(Heap& heap, const JsonStyle& style) : heap_(heap), style_(style), out_(heap.budget) {}

  void write(const Value& v, int depth) {
    check_depth(heap_, depth);
    if (const auto* t = as<TextRef>(v)) return write_string(**t);
    if (const auto* s = as<Sequence*>(v); s && (*s)->kind != SequenceKind::kGenerator) return write_array(**s, depth);
    if (const auto* d = as<Dict*>(v)) return write_object(**d, depth);
    if (is_number(v) || is<None>(v)) return put(scalar(v));
    fail_type("tojson takes strings, numbers, lists and mappings", v);
  }
  TextRef finish() { return out_.finish_as(trusted_); }

 private:
  void put(std::string_view s) { out_.append(s, true); }

  static std::string scalar(const Value& v) {
    if (is<None>(v)) return "null";
    if (const auto* b = as<bool>(v)) return *b ? "true" : "false";
    if (const auto* i = as<int64_t>(v)) return std::to_string(*i);
    const double d = std::get<double>(v);
    if (std::isfinite(d)) return float_repr(d);
    return std::isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity";
  }

  void new_line(int depth) {
    if (!style_.indent) return;
    put("\n");
    for (int i = 0; i < depth; ++i) put(*style_.indent);
  }

  void write_array(const Sequence& s, int depth) {
    if (s.items.empty()) return put("[]");
    put("[");
    for (size_t i = 0; i < s.items.size(); ++i) {
      if (i) put(style_.item_separator);
      new_line(depth + 1);
      write(s.items[i], depth + 1);
    }
    new_line(depth);
    put("]");
  }

  void write_object(const Dict& d, int depth) {
    if (d.items.empty()) return put("{}");
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : d.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [&](auto* a, auto* b) { return compare(heap_, a->first, b->first) < 0; });
    }
    put("{");
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) put(style_.item_separator);
      new_line(depth + 1);
      write_key(items[i]->first);
      put(style_.key_separator);
      write(items[i]->second, depth + 1);
    }
    new_line(depth);
    put("}");
  }

  void write_key(const Value& key) {
    if (const auto* t = as<TextRef>(key)) return write_string(**t);
    if (!is_number(key) && !is<None>(key)) fail_type("a key of a JSON object must be a string or a number", key);
    put("\"");
    put(scalar(key));
    put("\"");
  }

  void write_string(const Text& t) {
    trusted_ = trusted_ && t.trusted();
    put("\"");
    size_t plain = 0;  // where the bytes not yet written begin
    for (size_t i = 0; i < t.bytes.size();) {
      const CodePoint c = decode(t.bytes, i);
      const std::string escape = escaped(c.value);
      if (!escape.empty()) {
        put(std::string_view(t.bytes).substr(plain, i - plain));
        put(escape);
        plain = i + c.bytes;
      }
      i += c.bytes;
    }
    put(std::string_view(t.bytes).substr(plain));
    put("\"");
  }

  // Empty: written as it is.
  std::string escaped(uint32_t c) const {
    switch (c) {
      case '"':
        return "\\\"";
      case '\\':
        return "\\\\";
      case '\n':
        return "\\n";
      case '\r':
        return "\\r";
      case '\t':
        return "\\t";
      case '\f':
        return "\\f";
      case '\b':
        return "\\b";
    }
    if (c >= 0x20 && (c < 0x80 || !style_.ensure_ascii)) return {};
    if (c < 0x10000) return fmt::format("\\u{:04x}", c);
    return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
  }

  Heap& heap_;
  const JsonStyle& style_;
  TextBuilder out_;
  bool trusted_ = true;
};

}  // namespace

Value from_json(Heap& heap, const boost::json::value& json, bool trusted, int depth) {
  check_depth(heap, depth);
  heap.budget.work(sizeof(Value));
  switch (json.kind()) {
    case boost::json::kind::null:
      return None{};
    case boost::json::kind::bool_:
      return json.get_bool();
    case boost::json::kind::int64:
      return json.get_int64();
    case boost::json::kind::double_:
      return json.get_double();
    case boost::json::kind::string:
      return heap.text(std::string(json.get_string()), trusted);
    case boost::json::kind::uint64:
      break;
    case boost::json::kind::array: {
      auto* s = heap.sequence(SequenceKind::kList, json.get_array().size());
      for (const auto& item : json.get_array()) s->items.push_back(from_json(heap, item, trusted, depth + 1));
      return s;
    }
    case boost::json::kind::object: {
      auto* d = heap.dict(json.get_object().size());
      for (const auto& [key, value] : json.get_object()) {  // keys of an object differ already
        d->items.emplace_back(heap.text(std::string(key), trusted), from_json(heap, value, trusted, depth + 1));
      }
      return d;
    }
  }
  if (json.get_uint64() > INT64_MAX) fail(fmt::format("the integer {} does not fit in 64 bits with sign", json.get_uint64()));
  return static_cast<int64_t>(json.get_uint64());
}

size_t text_bytes(const boost::json::value& json) {
  size_t bytes = 0;
  if (const auto* s = json.if_string()) return s->size();
  if (const auto* a = json.if_array()) {
    for (const auto& item : *a) bytes += text_bytes(item);
  } else if (const auto* o = json.if_object()) {
    for (const auto& [key, value] : *o) bytes += key.size() + text_bytes(value);
  }
  return bytes;
}

TextRef to_json(Heap& heap, const Value& v, const JsonStyle& style) {
  Writer writer(heap, style);
  writer.write(v, 0);
  return writer.finish();
}

}  // namespace sluice::jinja
