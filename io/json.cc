#include "io/json.h"

#include <unistd.h>

#include <boost/json/value_stack.hpp>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <unordered_set>
#include <vector>

#include "io/json_sax.h"
#include "io/quote.h"
#include "io/regular_file.h"

namespace sluice {
namespace {

namespace json = boost::json;

// Builds the value. Counts keys on the way: where objects hold fewer in the end, one was there twice.
struct ValueBuilder : SaxHandler {
  json::value_stack stack;
  size_t keys = 0;

  bool on_object_begin(JsonErrorCode&) { return true; }
  bool on_object_end(size_t n, JsonErrorCode&) { return keys += n, stack.push_object(n), true; }
  bool on_array_begin(JsonErrorCode&) { return true; }
  bool on_array_end(size_t n, JsonErrorCode&) { return stack.push_array(n), true; }
  bool on_key_part(json::string_view s, size_t, JsonErrorCode&) { return stack.push_chars(s), true; }
  bool on_key(json::string_view s, size_t, JsonErrorCode&) { return stack.push_key(s), true; }
  bool on_string_part(json::string_view s, size_t, JsonErrorCode&) { return stack.push_chars(s), true; }
  bool on_string(json::string_view s, size_t, JsonErrorCode&) { return stack.push_string(s), true; }
  bool on_int64(int64_t i, json::string_view, JsonErrorCode&) { return stack.push_int64(i), true; }
  bool on_uint64(uint64_t u, json::string_view, JsonErrorCode&) { return stack.push_uint64(u), true; }
  bool on_bool(bool b, JsonErrorCode&) { return stack.push_bool(b), true; }
  bool on_null(JsonErrorCode&) { return stack.push_null(), true; }

  // Boost 1.81 scales by a power of ten and can be off by an ulp; the text is read again to round correctly.
  bool on_double(double approximate, json::string_view text, JsonErrorCode& ec) {
    double exact = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), exact);
    const bool underflow = parsed.ec == std::errc::result_out_of_range && std::abs(approximate) < 1;
    if (parsed.ec != std::errc() && !underflow)
      return refuse(ec, bad_file("number " + quote(text, 40) + " is beyond the range of double"));
    stack.push_double(underflow ? approximate : exact);
    return true;
  }
};

// Run only when it is known that some object has a key twice.
struct DuplicateFinder : SaxHandler {
  std::vector<std::unordered_set<std::string>> objects;
  std::string key;

  bool on_object_begin(JsonErrorCode&) { return objects.emplace_back(), true; }
  bool on_object_end(size_t, JsonErrorCode&) { return objects.pop_back(), true; }
  bool on_array_begin(JsonErrorCode&) { return true; }
  bool on_array_end(size_t, JsonErrorCode&) { return true; }
  bool on_key_part(json::string_view s, size_t, JsonErrorCode&) { return key += s, true; }
  bool on_key(json::string_view s, size_t, JsonErrorCode& ec) {
    key += s;
    const bool fresh = objects.back().insert(key).second;
    if (!fresh) return refuse(ec, bad_file("key " + quote(key) + " comes twice in one object"));
    key.clear();
    return true;
  }
  bool on_string_part(json::string_view, size_t, JsonErrorCode&) { return true; }
  bool on_string(json::string_view, size_t, JsonErrorCode&) { return true; }
  bool on_int64(int64_t, json::string_view, JsonErrorCode&) { return true; }
  bool on_uint64(uint64_t, json::string_view, JsonErrorCode&) { return true; }
  bool on_double(double, json::string_view, JsonErrorCode&) { return true; }
  bool on_bool(bool, JsonErrorCode&) { return true; }
  bool on_null(JsonErrorCode&) { return true; }
};

size_t count_keys(const json::value& value) {
  size_t n = 0;
  if (const json::array* array = value.if_array())
    for (const json::value& item : *array) n += count_keys(item);
  if (const json::object* object = value.if_object()) {
    n += object->size();
    for (const auto& member : *object) n += count_keys(member.value());
  }
  return n;
}

}  // namespace

Status json_syntax_error(const std::string& where, const JsonErrorCode& ec, std::string_view text, size_t at) {
  const bool stray_byte = ec == json::error::syntax && at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80;
  const std::string reason = stray_byte ? "invalid UTF-8" : ec.message();
  return bad_file(where + ": not valid JSON: " + reason + " at byte " + std::to_string(at));
}

Result<json::value> parse_json(std::string_view text, const std::string& where) {
  json::basic_parser<ValueBuilder> parser(strict_json());
  SLUICE_RETURN_IF_ERROR(parse_sax(parser, text, where));
  json::value value = parser.handler().stack.release();
  if (count_keys(value) != parser.handler().keys) {
    json::basic_parser<DuplicateFinder> finder(strict_json());
    return parse_sax(finder, text, where);
  }
  return value;
}

Result<std::string> read_small_file(const std::string& path, size_t cap) {
  SLUICE_ASSIGN_OR_RETURN(const RegularFile file, RegularFile::open(path));
  if (file.size() > cap)
    return bad_file(path + ": has " + std::to_string(file.size()) + " bytes, wanted at most " + std::to_string(cap));
  std::string text(file.size(), '\0');
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = ::read(file.fd(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(path, "read at byte " + std::to_string(done), errno);
    if (n == 0) return Status(Code::kIo, path + ": ended at byte " + std::to_string(done) + " of " + std::to_string(text.size()));
    done += size_t(n);
  }
  return text;
}

}  // namespace sluice
