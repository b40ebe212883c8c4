// The shared half of the event handlers that read JSON with boost::json::basic_parser. Included by the .cc files that have one.
#pragma once

#include <boost/json/basic_parser_impl.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace sluice {

inline constexpr size_t kMaxJsonDepth = 64;

using JsonErrorCode = boost::json::error_code;

// What the parser asks of every handler and none of ours uses, and the way to say no.
struct SaxHandler {
  static constexpr size_t max_object_size = SIZE_MAX, max_array_size = SIZE_MAX, max_key_size = SIZE_MAX,
                          max_string_size = SIZE_MAX;
  bool on_document_begin(JsonErrorCode&) { return true; }
  bool on_document_end(JsonErrorCode&) { return true; }
  bool on_number_part(std::string_view, JsonErrorCode&) { return true; }
  bool on_comment_part(std::string_view, JsonErrorCode&) { return true; }
  bool on_comment(std::string_view, JsonErrorCode&) { return true; }

  // Stops the parser; parse_sax() adds where.
  bool refuse(JsonErrorCode& ec, Status why) {
    refusal = std::move(why);
    ec = boost::json::error::exception;  // any error stops it; the reason is in `refusal`
    return false;
  }

  Status refusal;
};

// "where: not valid JSON: reason at byte N"
Status json_syntax_error(const std::string& where, const JsonErrorCode& ec, std::string_view text, size_t at);

// All of `text` through the parser's handler. Numbers and their text come whole, because the input does.
template <class Handler>
Status parse_sax(boost::json::basic_parser<Handler>& parser, std::string_view text, const std::string& where) {
  JsonErrorCode ec;
  const size_t at = parser.write_some(false, text.data(), text.size(), ec);
  const Status& refusal = parser.handler().refusal;
  if (!refusal.ok())
    return Status(refusal.code(), where + ": " + refusal.message() + " (at byte " + std::to_string(at) + ")", refusal.hint());
  if (!ec && at < text.size()) ec = boost::json::error::extra_data;
  return ec ? json_syntax_error(where, ec, text, at) : ok_status();
}

inline boost::json::parse_options strict_json() {
  boost::json::parse_options options;
  options.max_depth = kMaxJsonDepth;
  return options;
}

}  // namespace sluice
