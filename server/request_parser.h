// Bytes -> HttpRequest, strictly: what two readers could take for different requests is refused. Knows no sockets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/chunked_body.h"
#include "server/counters.h"
#include "server/limits.h"
#include "server/message.h"

namespace sluice {

class RequestParser {
 public:
  enum class State { kHead, kBody, kDone, kFailed };

  explicit RequestParser(const HttpLimits& limits);
  RequestParser(RequestParser&&) = delete;
  ~RequestParser();

  // Takes bytes and says how many; the others are to come again, with more behind them. Stops where the head ends and where the
  // request ends.
  size_t feed(std::string_view bytes);
  State state() const { return state_; }

  // After the head: `request()` but for its body.
  HttpRequest& request() { return request_; }
  bool keep_alive() const { return keep_alive_; }
  bool expects_continue() const { return expects_continue_; }

  // Bytes of the body so far, without chunk framing.
  size_t body_size() const { return body_.size(); }
  // A body that announces more than the limit; asked before any of it is read.
  bool announces_too_much() const { return body_.size() + body_left_ > uint64_t(limits_.max_body_bytes); }
  // Into request().body; when done.
  void take_body() { request_.body = std::move(body_); }
  // When it will not be read to its end.
  void drop_body() { std::string().swap(body_); }

  // When failed.
  int error_status() const { return error_status_; }
  const std::string& error() const { return error_; }
  Rejected rejected() const { return rejected_; }

 private:
  struct Beast;
  size_t feed_head(std::string_view bytes);
  size_t feed_body(std::string_view bytes);
  size_t feed_chunks(std::string_view bytes);
  bool judge_byte(char c, char before, size_t at);
  void parse_head(std::string_view head);
  bool judge_framing();
  bool judge_target();
  void fail(int status, Rejected why, std::string message);
  void fail_body_limit();

  const HttpLimits& limits_;
  std::unique_ptr<Beast> beast_;
  State state_ = State::kHead;
  HttpRequest request_;
  bool keep_alive_ = false, expects_continue_ = false;

  bool chunked_ = false;
  uint64_t body_left_ = 0;  // of what Content-Length says
  ChunkedBody chunks_;
  std::string body_;

  size_t scanned_ = 0, line_start_ = 0, lines_ = 0;  // of the head, so far
  int empty_lines_ = 0;                              // before the request line

  int error_status_ = 0;
  std::string error_;
  Rejected rejected_ = Rejected::kFraming;
};

}  // namespace sluice
