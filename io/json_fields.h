// Typed, bounded fields of a JSON object, for configuration files.
//
//   JsonFields f(object, "config.json", status);
//   const int64_t heads = f.integer("num_attention_heads", 1, 1024);
//   if (!status.ok()) ...
//
// The first failure goes to `status` and stays; later calls do nothing but return what they can. A null field counts as absent.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace sluice {

class JsonFields {
 public:
  // All three arguments outlive the reader. `where` begins every message.
  JsonFields(const boost::json::object& object, std::string where, Status& status)
      : object_(&object), where_(std::move(where)), status_(&status) {}

  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_text(std::string_view key) const;
  bool is_object(std::string_view key) const;
  std::vector<std::string> keys() const;  // in the file's order

  // Without a fallback the field is required. Bounds are inclusive.
  int64_t integer(std::string_view key, int64_t low, int64_t high, std::optional<int64_t> fallback = {}) const;
  double number(std::string_view key, double low, double high, std::optional<double> fallback = {}) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::optional<std::string> fallback = {}) const;

  // One integer, or a list of them; absent is the empty list.
  std::vector<int64_t> integers(std::string_view key, int64_t low, int64_t high) const;
  // A list of texts; absent is the empty list.
  std::vector<std::string> texts(std::string_view key) const;
  // The object in this field; absent is an empty one.
  JsonFields object(std::string_view key) const;

  // "where: key is found, wanted ..."
  void refuse(std::string_view key, const std::string& found, const std::string& wanted, Code code = Code::kBadFile) const;
  // As above, with the field's value as what was found.
  void refuse(std::string_view key, const std::string& wanted, Code code = Code::kBadFile) const;

 private:
  const boost::json::value* find(std::string_view key) const;
  std::optional<int64_t> as_integer(const boost::json::value& value, int64_t low, int64_t high) const;

  const boost::json::object* object_;
  std::string where_;
  Status* status_;
};

}  // namespace sluice
