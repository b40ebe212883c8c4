#include "server/request_fields.h"

#include <boost/json/value.hpp>
#include <charconv>
#include <cmath>
#include <sstream>

#include "io/json.h"
#include "io/quote.h"

namespace sluice {
namespace {

namespace json = boost::json;

bool is_number_part(char c) { return (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'; }

// A whole number that neither int64 nor uint64 holds would come out of the parser as a double, changed.
bool fits_64_bits(std::string_view number) {
  if (number.find_first_of(".eE") != std::string_view::npos) return true;
  int64_t i;
  uint64_t u;
  const char *begin = number.data(), *end = begin + number.size();
  return std::from_chars(begin, end, i).ec != std::errc::result_out_of_range ||
         (*begin != '-' && std::from_chars(begin, end, u).ec != std::errc::result_out_of_range);
}

// What the parser does not look at, before it builds anything. Text that is no JSON passes or not; the parser refuses it.
MaybeError prescan(std::string_view body) {
  int64_t values = 1;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (c == '"') {
      for (++i; i < body.size() && body[i] != '"'; ++i)
        if (body[i] == '\\') ++i;
    } else if (c == ',' || c == '[' || c == '{') {
      // A list's or object's first value comes with its bracket, each further one with a comma.
      if (++values > kMaxJsonValues)
        return bad_field({}, "the body has more than " + std::to_string(kMaxJsonValues) + " JSON values");
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      size_t end = i;
      while (end < body.size() && is_number_part(body[end])) ++end;
      const std::string_view number = body.substr(i, end - i);
      if (!fits_64_bits(number))
        return bad_field({}, "the number " + std::string(number.substr(0, 40)) + " does not fit into 64 bits");
      i = end - 1;
    }
  }
  return std::nullopt;
}

template <class T>
std::string shown(T value) {
  std::ostringstream s;
  s << value;
  return s.str();
}

template <class T>
std::string range(T min, T max, bool above = false) {
  return (above ? "above " + shown(min) + " and at most " : "from " + shown(min) + " to ") + shown(max);
}

}  // namespace

MaybeError parse_body(std::string_view body, json::object& out) {
  if (auto e = prescan(body)) return e;
  auto parsed = parse_json(body, "the body");
  if (!parsed.ok()) return bad_field({}, parsed.status().message());
  if (!parsed->is_object()) return bad_field({}, "the body is " + kind_of(*parsed) + ", wanted a JSON object");
  out = std::move(parsed->get_object());
  return std::nullopt;
}

std::string kind_of(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "a list";
    case json::kind::object:
      return "an object";
    default:
      return "a number";
  }
}

std::optional<int64_t> whole_number(const json::value& value) {
  if (const int64_t* i = value.if_int64()) return *i;
  constexpr double kExact = 9007199254740992;  // 2^53: up to here each double that is whole is the number that was written
  if (const double* d = value.if_double(); d && std::abs(*d) <= kExact && std::trunc(*d) == *d) return int64_t(*d);
  return std::nullopt;
}

MaybeError read_token_ids(const json::array& list, int64_t vocab, const std::string& where, std::vector<int32_t>& out) {
  out.reserve(out.size() + list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto id = whole_number(list[i]);
    const std::string at = where + "[" + std::to_string(i) + "]";
    if (!id)
      return bad_field(at, at + " is " + (list[i].is_number() ? "not a token id" : kind_of(list[i])) + ", wanted a token id");
    if (*id < 0 || *id >= vocab)
      return bad_field(at, at + ": token id " + std::to_string(*id) + " is outside the vocabulary of " + std::to_string(vocab));
    out.push_back(int32_t(*id));
  }
  return std::nullopt;
}

void RequestFields::fail(std::string_view key, const std::string& what) const {
  if (!error_) error_ = bad_field(name(key), name(key) + ": " + what);
}

void RequestFields::unsupported(std::string_view key, const std::string& why) const {
  if (!error_) error_ = not_supported(name(key), name(key) + ": " + why);
}

const json::value* RequestFields::find(std::string_view key) const {
  if (error_) return nullptr;
  const json::value* v = object_.if_contains(key);
  return v && !v->is_null() ? v : nullptr;
}

std::optional<bool> RequestFields::boolean(std::string_view key) const {
  const json::value* v = find(key);
  if (!v) return std::nullopt;
  if (const bool* b = v->if_bool()) return *b;
  fail(key, "is " + kind_of(*v) + ", wanted true or false");
  return std::nullopt;
}

std::optional<int64_t> RequestFields::integer(std::string_view key, int64_t min, int64_t max) const {
  const json::value* v = find(key);
  if (!v) return std::nullopt;
  const auto i = whole_number(*v);
  if (i && *i >= min && *i <= max) return i;
  if (i) fail(key, "is " + std::to_string(*i) + ", wanted a whole number " + range(min, max));
  else
    fail(key, "is " + (v->is_number() ? "a number out of range or not whole" : kind_of(*v)) + ", wanted a whole number " +
                  range(min, max));
  return std::nullopt;
}

std::optional<double> RequestFields::number(std::string_view key, double min, double max, bool above) const {
  const json::value* v = find(key);
  if (!v) return std::nullopt;
  json::error_code ec;
  const double d = v->is_number() ? v->to_number<double>(ec) : 0;
  if (!v->is_number() || ec) {
    fail(key, "is " + kind_of(*v) + ", wanted a number " + range(min, max, above));
  } else if (!(d >= min && d <= max) || (above && d == min)) {
    fail(key, "is " + shown(d) + ", wanted a number " + range(min, max, above));
  } else {
    return d;
  }
  return std::nullopt;
}

std::optional<std::string> RequestFields::string(std::string_view key, size_t max_bytes) const {
  const json::value* v = find(key);
  if (!v) return std::nullopt;
  const json::string* s = v->if_string();
  if (s && s->size() <= max_bytes) return std::string(*s);
  if (s) fail(key, "has " + std::to_string(s->size()) + " bytes, wanted at most " + std::to_string(max_bytes));
  else fail(key, "is " + kind_of(*v) + ", wanted a string");
  return std::nullopt;
}

std::optional<std::string> RequestFields::choice(std::string_view key, std::initializer_list<std::string_view> allowed) const {
  const auto s = string(key, 1024);
  if (!s) return std::nullopt;
  std::string list;
  for (const std::string_view a : allowed) {
    if (a == *s) return s;
    list += (list.empty() ? "'" : ", '") + std::string(a) + "'";
  }
  fail(key, "is " + quote(*s, 64) + ", wanted one of " + list);
  return std::nullopt;
}

const json::object* RequestFields::object(std::string_view key) const {
  const json::value* v = find(key);
  if (v && !v->is_object()) fail(key, "is " + kind_of(*v) + ", wanted an object");
  return v ? v->if_object() : nullptr;
}

const json::array* RequestFields::array(std::string_view key, size_t max_items) const {
  const json::value* v = find(key);
  if (!v) return nullptr;
  const json::array* a = v->if_array();
  if (!a) {
    fail(key, "is " + kind_of(*v) + ", wanted a list");
  } else if (a->size() > max_items) {
    fail(key, "has " + std::to_string(a->size()) + " items, wanted at most " + std::to_string(max_items));
    return nullptr;
  }
  return a;
}

void RequestFields::each_object(std::string_view key, size_t max_items,
                                const std::function<void(const RequestFields&)>& read) const {
  const json::array* list = array(key, max_items);
  for (size_t i = 0; list && i < list->size() && ok(); ++i) {
    const std::string at = std::string(key) + "[" + std::to_string(i) + "]";
    const json::value& item = (*list)[i];
    if (item.is_object()) read(RequestFields(item.get_object(), error_, name(at) + "."));
    else fail(at, "is " + kind_of(item) + ", wanted an object");
  }
}

std::optional<std::vector<int32_t>> RequestFields::token_ids(std::string_view key, int64_t vocab, size_t max_items) const {
  const json::array* a = array(key, max_items);
  if (!a) return std::nullopt;
  std::vector<int32_t> ids;
  if (auto e = read_token_ids(*a, vocab, name(key), ids)) {
    e->param = name(key);
    error_ = std::move(e);
    return std::nullopt;
  }
  return ids;
}

std::optional<std::vector<std::string>> RequestFields::strings(std::string_view key, size_t max_items, size_t max_bytes,
                                                               bool or_one) const {
  const json::value* v = find(key);
  if (!v) return std::nullopt;
  json::array one;
  if (or_one && v->is_string()) one.push_back(*v);
  const json::array* list = or_one && v->is_string() ? &one : array(key, max_items);
  if (!list) return std::nullopt;
  std::vector<std::string> out;
  for (const json::value& item : *list) {
    const json::string* s = item.if_string();
    if (!s) fail(key, "holds " + kind_of(item) + ", wanted strings");
    else if (s->empty()) fail(key, "holds an empty string");
    else if (s->size() > max_bytes)
      fail(key, "holds a string of " + std::to_string(s->size()) + " bytes, wanted at most " + std::to_string(max_bytes));
    else out.emplace_back(*s);
    if (error_) return std::nullopt;
  }
  return out;
}

}  // namespace sluice
