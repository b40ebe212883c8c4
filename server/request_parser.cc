#include "server/request_parser.h"

#include <algorithm>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/none.hpp>
#include <utility>

namespace sluice {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;

struct RequestParser::Beast {
  http::request_parser<http::empty_body> parser;  // of the head
};

namespace {

// Whether the request line is METHOD TARGET HTTP/d.d, so that only its version is wrong.
bool ends_with_a_version(std::string_view head) {
  const std::string_view line = head.substr(0, head.find('\r'));
  const size_t space = line.rfind(' ');
  return std::count(line.begin(), line.end(), ' ') == 2 && line.substr(space + 1, 5) == "HTTP/" && line.size() == space + 9;
}

}  // namespace

RequestParser::RequestParser(const HttpLimits& limits)
    : limits_(limits), beast_(std::make_unique<Beast>()), chunks_(size_t(limits.max_body_bytes), size_t(limits.max_header_bytes)) {
  beast_->parser.header_limit(uint32_t(limits.max_header_bytes));
  beast_->parser.body_limit(boost::none);  // it would refuse the head of a body that is too long
}

RequestParser::~RequestParser() = default;

void RequestParser::fail(int status, Rejected why, std::string message) {
  if (state_ == State::kFailed) return;
  state_ = State::kFailed;
  error_status_ = status;
  rejected_ = why;
  error_ = std::move(message);
}

size_t RequestParser::feed(std::string_view bytes) {
  if (state_ == State::kHead) return feed_head(bytes);
  if (state_ == State::kBody) return feed_body(bytes);
  return 0;
}

// What Beast would read leniently or late: bare line ends, control characters (a TLS greeting has some), folded lines; and the
// limits, as early as they can be judged.
bool RequestParser::judge_byte(char c, char before, size_t at) {
  if ((c == '\n') != (before == '\r')) {
    fail(400, Rejected::kFraming, "a line of the header does not end with CR LF");
  } else if ((c >= 0 && c < ' ' && c != '\r' && c != '\n' && c != '\t') || c == 0x7f) {
    fail(400, Rejected::kFraming, "the header contains a control character");
  } else if (at == line_start_ && (c == ' ' || c == '\t')) {
    fail(400, Rejected::kFraming, "a line of the header begins with white space (folded headers are refused)");
  } else if (lines_ == 0 && at - line_start_ > size_t(limits_.max_target_bytes) + 32) {  // 32: method and version
    fail(414, Rejected::kTarget, "the request line is longer than " + std::to_string(limits_.max_target_bytes) + " bytes");
  } else if (at >= size_t(limits_.max_header_bytes)) {
    fail(431, Rejected::kHeaders, "the header is longer than " + std::to_string(limits_.max_header_bytes) + " bytes");
  } else if (lines_ > size_t(limits_.max_header_fields) && at == line_start_ && c != '\r') {
    fail(431, Rejected::kHeaders, "the header has more than " + std::to_string(limits_.max_header_fields) + " fields");
  }
  return state_ != State::kFailed;
}

size_t RequestParser::feed_head(std::string_view bytes) {
  for (; scanned_ < bytes.size(); ++scanned_) {
    const char c = bytes[scanned_];
    if (!judge_byte(c, scanned_ > line_start_ ? bytes[scanned_ - 1] : '\0', scanned_)) return 0;
    if (c != '\n') continue;
    const bool empty = scanned_ == line_start_ + 1;
    const size_t end = scanned_ + 1;
    if (!empty) {
      ++lines_;
      line_start_ = end;
    } else if (lines_ > 0) {
      parse_head(bytes.substr(0, end));
      return end;
    } else {
      // RFC 9112 2.2: a line end before the request line is skipped. Old clients send one after a body.
      if (++empty_lines_ > 2) fail(400, Rejected::kFraming, "the request begins with empty lines");
      scanned_ = line_start_ = 0;
      return end;
    }
  }
  return 0;
}

void RequestParser::parse_head(std::string_view head) {
  error_code ec;
  auto& parser = beast_->parser;
  parser.put(asio::buffer(head.data(), head.size()), ec);
  if (ec == http::error::bad_version && ends_with_a_version(head))
    return fail(505, Rejected::kVersion, "the protocol is not HTTP/1.0 or HTTP/1.1");
  if (ec) return fail(400, Rejected::kFraming, "the header is malformed: " + ec.message());
  const auto& message = parser.get();
  request_.method = std::string(message.method_string());
  request_.http11 = message.version() == 11;
  for (const auto& field : message) request_.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  keep_alive_ = parser.keep_alive();
  chunked_ = parser.chunked();
  body_left_ = parser.content_length().value_or(0);
  if (judge_framing() && judge_target()) state_ = chunked_ || body_left_ > 0 ? State::kBody : State::kDone;
}

// RFC 9112 section 6 and RFC 9110 section 7.2, without the leniencies.
bool RequestParser::judge_framing() {
  int lengths = 0, encodings = 0, hosts = 0;
  for (const Header& h : request_.headers) {
    if (equal_ignoring_case(h.name, "Content-Length")) {
      ++lengths;
      if (h.value.empty() || h.value.find_first_not_of("0123456789") != std::string::npos) {
        fail(400, Rejected::kFraming, "Content-Length is not a number");
      }
    } else if (equal_ignoring_case(h.name, "Transfer-Encoding")) {
      ++encodings;
      if (!equal_ignoring_case(h.value, "chunked")) fail(400, Rejected::kFraming, "Transfer-Encoding is not 'chunked'");
    } else if (equal_ignoring_case(h.name, "Host")) {
      ++hosts;
    } else if (equal_ignoring_case(h.name, "Expect")) {
      expects_continue_ = equal_ignoring_case(h.value, "100-continue");
      if (!expects_continue_) fail(417, Rejected::kExpectation, "Expect is not '100-continue'");
    }
  }
  if (lengths + encodings > 1) fail(400, Rejected::kFraming, "the length of the body is given more than once");
  if (encodings && !request_.http11) fail(400, Rejected::kFraming, "Transfer-Encoding needs HTTP/1.1");
  if (hosts > 1 || (hosts == 0 && request_.http11)) fail(400, Rejected::kFraming, "there must be one Host header");
  expects_continue_ &= request_.http11;  // RFC 9110 10.1.1: ignored in HTTP/1.0
  return state_ != State::kFailed;
}

bool RequestParser::judge_target() {
  const auto text = beast_->parser.get().target();
  std::string_view target(text.data(), text.size());
  if (target.size() > size_t(limits_.max_target_bytes)) {
    fail(414, Rejected::kTarget, "the target is longer than " + std::to_string(limits_.max_target_bytes) + " bytes");
    return false;
  }
  const bool ascii = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  // The absolute form, which servers must take (RFC 9112 3.2.2).
  if (target.substr(0, 7) == "http://") {
    const size_t slash = target.find_first_of("/?", 7);
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  const bool asterisk = target == "*" && request_.method == "OPTIONS";
  if (!ascii || target.empty() || (target[0] != '/' && !asterisk)) {
    fail(400, Rejected::kFraming, "the target is not a path");
    return false;
  }
  const size_t mark = std::min(target.find('?'), target.size());
  request_.path = std::string(target.substr(0, mark));
  if (mark < target.size()) request_.query = std::string(target.substr(mark + 1));
  return true;
}

size_t RequestParser::feed_body(std::string_view bytes) {
  if (announces_too_much()) return fail_body_limit(), 0;
  if (chunked_) return feed_chunks(bytes);
  const std::string_view data = bytes.substr(0, size_t(std::min<uint64_t>(body_left_, bytes.size())));
  body_ += data;
  body_left_ -= data.size();
  if (body_left_ == 0) state_ = State::kDone;
  return data.size();
}

size_t RequestParser::feed_chunks(std::string_view bytes) {
  const size_t used = chunks_.feed(bytes, body_);
  if (chunks_.state() == ChunkedBody::State::kDone) state_ = State::kDone;
  if (chunks_.state() == ChunkedBody::State::kTooLong) fail_body_limit();
  if (chunks_.state() == ChunkedBody::State::kMalformed) fail(400, Rejected::kFraming, chunks_.error());
  return used;
}

void RequestParser::fail_body_limit() {
  fail(413, Rejected::kBody, "the body is longer than " + std::to_string(limits_.max_body_bytes) + " bytes");
}

}  // namespace sluice
