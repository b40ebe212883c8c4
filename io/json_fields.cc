#include "io/json_fields.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "io/quote.h"

namespace sluice {
namespace {

std::string describe(const boost::json::value* value) {
  if (!value) return "missing";
  if (value->is_object()) return "an object";
  if (value->is_array()) return "a list of " + std::to_string(value->get_array().size());
  if (const auto* s = value->if_string()) return quote(std::string_view(s->data(), s->size()));
  if (value->is_double()) return fmt::format("{}", value->get_double());
  return boost::json::serialize(*value);
}

const boost::json::object& empty_object() {
  static const boost::json::object empty;
  return empty;
}

std::string range(const char* kind, int64_t low, int64_t high) { return fmt::format("{} from {} to {}", kind, low, high); }

}  // namespace

const boost::json::value* JsonFields::find(std::string_view key) const {
  const boost::json::value* value = object_->if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

bool JsonFields::is_text(std::string_view key) const { return has(key) && find(key)->is_string(); }
bool JsonFields::is_object(std::string_view key) const { return has(key) && find(key)->is_object(); }

std::vector<std::string> JsonFields::keys() const {
  std::vector<std::string> all;
  for (const auto& entry : *object_) all.emplace_back(entry.key());
  return all;
}

void JsonFields::refuse(std::string_view key, const std::string& found, const std::string& wanted, Code code) const {
  if (status_->ok()) *status_ = Status(code, where_ + ": " + std::string(key) + " is " + found + ", wanted " + wanted);
}

void JsonFields::refuse(std::string_view key, const std::string& wanted, Code code) const {
  refuse(key, describe(find(key)), wanted, code);
}

std::optional<int64_t> JsonFields::as_integer(const boost::json::value& value, int64_t low, int64_t high) const {
  const int64_t* i = value.if_int64();
  return i && low <= *i && *i <= high ? std::optional(*i) : std::nullopt;
}

int64_t JsonFields::integer(std::string_view key, int64_t low, int64_t high, std::optional<int64_t> fallback) const {
  const boost::json::value* value = find(key);
  if (!value && fallback) return *fallback;
  const auto i = value ? as_integer(*value, low, high) : std::nullopt;
  if (!i) refuse(key, range("an integer", low, high));
  return i.value_or(low);
}

double JsonFields::number(std::string_view key, double low, double high, std::optional<double> fallback) const {
  const boost::json::value* value = find(key);
  if (!value && fallback) return *fallback;
  const bool is_number = value && value->is_number();
  const double d = is_number ? value->to_number<double>() : low;
  if (is_number && low <= d && d <= high) return d;
  refuse(key, fmt::format("a number from {} to {}", low, high));
  return low;
}

bool JsonFields::boolean(std::string_view key, bool fallback) const {
  const boost::json::value* value = find(key);
  if (!value) return fallback;
  if (!value->is_bool()) refuse(key, "true or false");
  return value->is_bool() ? value->get_bool() : fallback;
}

std::string JsonFields::text(std::string_view key, std::optional<std::string> fallback) const {
  const boost::json::value* value = find(key);
  if (!value && fallback) return *fallback;
  if (value && value->is_string()) return std::string(value->get_string());
  refuse(key, "text");
  return {};
}

std::vector<int64_t> JsonFields::integers(std::string_view key, int64_t low, int64_t high) const {
  const boost::json::value* value = find(key);
  if (!value) return {};
  if (!value->is_array()) return {integer(key, low, high)};
  std::vector<int64_t> all;
  for (const boost::json::value& item : value->get_array()) {
    const auto i = as_integer(item, low, high);
    if (!i) {
      refuse(key, "a list with " + describe(&item), range("integers", low, high));
      return {};
    }
    all.push_back(*i);
  }
  return all;
}

std::vector<std::string> JsonFields::texts(std::string_view key) const {
  const boost::json::value* value = find(key);
  if (!value) return {};
  std::vector<std::string> all;
  if (!value->is_array()) refuse(key, "a list of texts");
  else
    for (const boost::json::value& item : value->get_array()) {
      if (!item.is_string()) refuse(key, "a list with " + describe(&item), "a list of texts");
      else all.emplace_back(item.get_string());
    }
  return all;
}

JsonFields JsonFields::object(std::string_view key) const {
  const boost::json::value* value = find(key);
  if (value && !value->is_object()) refuse(key, "an object");
  const bool there = value && value->is_object();
  return JsonFields(there ? value->get_object() : empty_object(), where_ + ": " + std::string(key), *status_);
}

}  // namespace sluice
