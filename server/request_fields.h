// Reads a request's JSON: each field by its type and range. The first mistake is kept, with the field's name; after it every read
// gives nothing, so that a caller reads all and asks once.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace sluice {

using MaybeError = std::optional<ApiError>;

inline constexpr int64_t kMaxJsonValues = 200'000;

// The object that a body is: strict JSON of at most 64 levels and kMaxJsonValues values, no key twice, no number beyond the range
// of double, no whole number that 64 bits cannot hold.
MaybeError parse_body(std::string_view body, boost::json::object& out);

// A field that is absent or null is not there.
class RequestFields {
 public:
  // `path` is put before each name: "messages[2]." and so on. The error is shared between the readers of one request.
  RequestFields(const boost::json::object& object, MaybeError& error, std::string path = {})
      : object_(object), error_(error), path_(std::move(path)) {}

  const boost::json::value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  std::optional<bool> boolean(std::string_view key) const;
  std::optional<int64_t> integer(std::string_view key, int64_t min, int64_t max) const;
  // above: `min` itself is out.
  std::optional<double> number(std::string_view key, double min, double max, bool above = false) const;
  std::optional<std::string> string(std::string_view key, size_t max_bytes) const;
  std::optional<std::string> choice(std::string_view key, std::initializer_list<std::string_view> allowed) const;
  const boost::json::object* object(std::string_view key) const;
  const boost::json::array* array(std::string_view key, size_t max_items) const;
  // Reads each member of a list of objects, by its place: "tools[2].".
  void each_object(std::string_view key, size_t max_items, const std::function<void(const RequestFields&)>& read) const;
  // Numbers of [0, vocab).
  std::optional<std::vector<int32_t>> token_ids(std::string_view key, int64_t vocab, size_t max_items) const;
  // Not empty, each of 1 to max_bytes bytes; one string alone is a list of one where `or_one`.
  std::optional<std::vector<std::string>> strings(std::string_view key, size_t max_items, size_t max_bytes, bool or_one) const;

  // Mistakes of a field: 400, or 501 for what is well-formed and not offered.
  void fail(std::string_view key, const std::string& what) const;
  void unsupported(std::string_view key, const std::string& why) const;
  bool ok() const { return !error_; }
  MaybeError& error() const { return error_; }
  std::string name(std::string_view key) const { return path_ + std::string(key); }

 private:
  const boost::json::object& object_;
  MaybeError& error_;
  const std::string path_;
};

// A whole number, also one written as 5.0.
std::optional<int64_t> whole_number(const boost::json::value& value);
// "a string", "a list"
std::string kind_of(const boost::json::value& value);
// Numbers of [0, vocab), `where` names the list.
MaybeError read_token_ids(const boost::json::array& list, int64_t vocab, const std::string& where, std::vector<int32_t>& out);

}  // namespace sluice
