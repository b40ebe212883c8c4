// The filter table, and the filters of text and numbers.
#include "text/jinja/filters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/json.h"
#include "text/jinja/methods.h"
#include "text/jinja/unicode.h"

namespace sluice::jinja {
namespace {

template <std::string (*convert)(std::string_view)>
Value convert_filter(Heap& heap, const Value& in, const Bound&) {
  const TextRef t = to_text(heap, in);
  heap.budget.work(t->bytes.size());
  return heap.text(convert(t->bytes), t->trusted());
}

Value trim_filter(Heap& heap, const Value& in, const Bound& args) {
  return strip_text(heap, to_text(heap, in), args.optional(0), true, true);
}

Value string_filter(Heap& heap, const Value& in, const Bound&) { return to_text(heap, in); }

Value replace_filter(Heap& heap, const Value& in, const Bound& args) {
  const TextRef t = to_text(heap, in), from = to_text(heap, args[0]), to = to_text(heap, args[1]);
  return replace_text(heap, t, *from, *to, args.optional(2) ? args.integer(2, -1) : -1);
}

Value escape_filter(Heap& heap, const Value& in, const Bound&) {
  const TextRef t = to_text(heap, in);
  TextBuilder out(heap.budget);
  size_t kept = 0;
  for (size_t i = 0; i < t->bytes.size(); ++i) {
    static constexpr std::string_view kSpecial = "&<>'\"";
    static constexpr std::string_view kEscapes[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    const size_t special = kSpecial.find(t->bytes[i]);
    if (special == std::string_view::npos) continue;
    out.append(*t, kept, i);
    out.append(kEscapes[special], true);
    kept = i + 1;
  }
  out.append(*t, kept, t->bytes.size());
  return out.finish_as(t->trusted());
}

// A number of blanks, or the text itself.
TextRef indentation(Heap& heap, const Value* width, int64_t otherwise) {
  if (width && is<TextRef>(*width)) return std::get<TextRef>(*width);
  const int64_t n = std::max<int64_t>(0, width ? need_int(*width, "width") : otherwise);
  constexpr int64_t kWidest = 1000;  // wider than any page, and too small to hurt
  if (n > kWidest) fail(fmt::format("an indentation of {} is more than {}", n, kWidest));
  return heap.text(std::string(static_cast<size_t>(n), ' '), true);
}

Value indent_filter(Heap& heap, const Value& in, const Bound& args) {
  const TextRef t = to_text(heap, in), width = indentation(heap, args.find(0), 4);
  const bool indent_first = args.flag(1), indent_blank = args.flag(2);
  TextBuilder out(heap.budget);
  bool first = true;
  const auto line = [&](Span s) {
    if (!first) out.append("\n", true);
    if (first ? indent_first : indent_blank || s.begin < s.end) out.append(*width);
    out.append(*t, s.begin, s.end);
    first = false;
  };
  each_line(t->bytes, line);
  if (t->bytes.empty() || t->bytes.back() == '\n') line({0, 0});  // Jinja adds a newline before it splits
  return out.finish();
}

Value tojson_filter(Heap& heap, const Value& in, const Bound& args) {
  JsonStyle style;
  style.ensure_ascii = args.flag(0);
  if (const Value* indent = args.optional(1)) {
    style.indent = indentation(heap, indent, 0)->bytes;
    style.item_separator = std::string(1, ',');  // (assigning "," trips a false warning of g++ 12)
  }
  if (const Value* separators = args.optional(2)) {
    const Sequence* pair = iterate(heap, *separators);
    if (pair->items.size() != 2) fail("separators must be two strings");
    style.item_separator = need_text(pair->items[0], "a separator")->bytes;
    style.key_separator = need_text(pair->items[1], "a separator")->bytes;
  }
  style.sort_keys = args.flag(3);
  return to_json(heap, in, style);
}

// ---- numbers

std::string_view number_text(const TextRef& t) {
  const Span s = strip(t->bytes, nullptr, true, true);
  std::string_view text = std::string_view(t->bytes).substr(s.begin, s.end - s.begin);
  const bool plus = text.size() > 1 && text[0] == '+' && text[1] != '-';
  return text.substr(plus);
}

template <class T, class... Base>
std::optional<T> parse_number(std::string_view s, Base... base) {
  T value;
  const auto end = std::from_chars(s.data(), s.data() + s.size(), value, base...);
  if (end.ec != std::errc() || end.ptr != s.data() + s.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> truncated(double d) {
  constexpr double kTooBig = 9223372036854775808.0;  // 2^63
  if (!(std::fabs(d) < kTooBig)) return std::nullopt;
  return static_cast<int64_t>(d);
}

Value int_filter(Heap&, const Value& in, const Bound& args) {
  const Value otherwise = args.find(0) ? args[0] : Value(int64_t{0});
  std::optional<int64_t> result;
  if (const auto* t = as<TextRef>(in)) {
    const int64_t base = args.integer(1, 10);
    if (base < 2 || base > 36) fail("base must be from 2 to 36");
    std::string_view text = number_text(*t);
    const bool prefixed = base == 16 && (text.starts_with("0x") || text.starts_with("0X"));
    result = parse_number<int64_t>(text.substr(prefixed ? 2 : 0), static_cast<int>(base));
    if (!result) {
      if (const auto d = parse_number<double>(text)) result = truncated(*d);
    }
  } else if (is_number(in)) {
    result = is<double>(in) ? truncated(std::get<double>(in)) : need_int(in, "");
  }
  return result ? Value(*result) : otherwise;
}

Value float_filter(Heap&, const Value& in, const Bound& args) {
  if (is_number(in)) return to_double(in);
  if (const auto* t = as<TextRef>(in)) {
    if (const auto d = parse_number<double>(number_text(*t))) return *d;
  }
  return args.find(0) ? args[0] : Value(0.0);
}

Value abs_filter(Heap&, const Value& in, const Bound&) {
  if (const auto* d = as<double>(in)) return std::fabs(*d);
  const int64_t i = need_int(in, "what 'abs' takes");
  if (i == INT64_MIN) fail("an integer leaves the range of 64 bits");
  return i < 0 ? -i : i;
}

// Half to even, on the decimal digits of the exact value, as Python rounds.
double round_common(double v, int64_t digits) {
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(v / unit) * unit;
  }
  const std::string text = fmt::format("{:.{}f}", v, digits);
  return *parse_number<double>(text);
}

Value round_filter(Heap&, const Value& in, const Bound& args) {
  if (!is_number(in)) fail_type("'round' takes a number", in);
  const int64_t digits = args.integer(0, 0);
  constexpr int64_t kMostDigits = 300;  // a double has no more on either side of the point
  if (std::abs(digits) > kMostDigits) fail(fmt::format("precision must be within {}", kMostDigits));
  const std::string method = args.find(1) ? need_text(args[1], "method")->bytes : "common";
  const double v = to_double(in), unit = std::pow(10.0, static_cast<double>(digits));
  if (!std::isfinite(v)) return v;
  if (method == "ceil") return std::ceil(v * unit) / unit;
  if (method == "floor") return std::floor(v * unit) / unit;
  if (method != "common") fail("method must be common, ceil or floor");
  if (is<double>(in)) return round_common(v, digits);
  return digits >= 0 ? need_int(in, "") : static_cast<int64_t>(round_common(v, digits));
}

// ---- any value

Value default_filter(Heap& heap, const Value& in, const Bound& args) {
  const bool missing = is<Undefined>(in) || (args.flag(1) && !truth(in));
  if (!missing) return in;
  return args.find(0) ? args[0] : heap.text("", true);
}

Value safe_filter(Heap& heap, const Value& in, const Bound&) { return to_text(heap, in); }

}  // namespace

std::span<const FilterSpec> text_filters() {
  static const std::vector<FilterSpec> kFilters = {
      {{"upper", {}}, convert_filter<to_upper>},
      {{"lower", {}}, convert_filter<to_lower>},
      {{"capitalize", {}}, convert_filter<capitalize>},
      {{"title", {}}, convert_filter<title_by_blanks>},
      {{"trim", {"chars"}}, trim_filter},
      {{"string", {}}, string_filter},
      {{"safe", {}}, safe_filter},
      {{"escape", {}}, escape_filter},
      {{"e", {}}, escape_filter},
      {{"replace", {"old", "new", "count"}, 2}, replace_filter},
      {{"indent", {"width", "first", "blank"}}, indent_filter},
      {{"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}}, tojson_filter},
      {{"int", {"default", "base"}}, int_filter},
      {{"float", {"default"}}, float_filter},
      {{"abs", {}}, abs_filter},
      {{"round", {"precision", "method"}}, round_filter},
      {{"default", {"default_value", "boolean"}}, default_filter},
      {{"d", {"default_value", "boolean"}}, default_filter},
  };
  return kFilters;
}

const FilterSpec* find_filter(std::string_view name) {
  for (const auto table : {text_filters(), list_filters()}) {
    const auto found = std::find_if(table.begin(), table.end(), [&](const FilterSpec& f) { return f.signature.name == name; });
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

Value apply_filter(Heap& heap, const FilterSpec& filter, const Value& input, Arguments& args) {
  return filter.apply(heap, input, Bound(filter.signature, args));
}

}  // namespace sluice::jinja
