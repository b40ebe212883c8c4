// Fields of a parsed JSON object by name and type. What is absent or null takes the default; what has another type is an error
// that says which field, what was found and what was wanted.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/quote.h"

namespace sluice {

inline std::string shown(const boost::json::value& v) {
  if (v.is_object()) return "an object";
  if (v.is_array()) return "an array";
  if (v.is_string()) return quote({v.get_string().data(), v.get_string().size()});
  return boost::json::serialize(v);
}

class TokenizerFields {
 public:
  // `where` names the object: "tokenizer.json: normalizer".
  static Result<TokenizerFields> of(const boost::json::value& v, std::string where) {
    if (!v.is_object()) return bad_file(where + " is " + shown(v) + ", wanted an object");
    return TokenizerFields(v.get_object(), std::move(where));
  }

  // The file's own object: its fields are "tokenizer.json: normalizer", theirs "tokenizer.json: normalizer.type".
  static Result<TokenizerFields> of_file(const boost::json::value& v, const std::string& file) {
    Result<TokenizerFields> fields = of(v, file);
    if (fields.ok()) fields->separator_ = ": ";
    return fields;
  }

  std::string name(std::string_view field) const { return where_ + separator_ + std::string(field); }
  const boost::json::value* find(std::string_view field) const {
    const boost::json::value* v = object_->if_contains(field);
    return v && !v->is_null() ? v : nullptr;
  }
  Status wrong(std::string_view field, std::string_view wanted) const {
    const boost::json::value* v = object_->if_contains(field);
    return bad_file(name(field) + " is " + (v ? shown(*v) : "missing") + ", wanted " + std::string(wanted));
  }

  Result<bool> flag(std::string_view field, bool otherwise) const {
    const boost::json::value* v = find(field);
    if (v && !v->is_bool()) return wrong(field, "true or false");
    return v ? v->get_bool() : otherwise;
  }
  Result<std::string> text(std::string_view field) const {
    const boost::json::value* v = find(field);
    if (!v || !v->is_string()) return wrong(field, "a string");
    return std::string(v->get_string().data(), v->get_string().size());
  }
  Result<int64_t> integer(std::string_view field) const {
    const boost::json::value* v = find(field);
    if (!v || !v->is_int64()) return wrong(field, "an integer");
    return v->get_int64();
  }

 private:
  TokenizerFields(const boost::json::object& object, std::string where) : object_(&object), where_(std::move(where)) {}
  const boost::json::object* object_;
  std::string where_;
  const char* separator_ = ".";
};

}  // namespace sluice
