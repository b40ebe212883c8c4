#include "server/message.h"

#include <algorithm>

#include "server/exchange.h"
#include "server/sse.h"

namespace sluice {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; }

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += char(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string_view HttpRequest::header(std::string_view name) const {
  for (const Header& h : headers) {
    if (equal_ignoring_case(h.name, name)) return h.value;
  }
  return {};
}

std::string_view HttpRequest::param(std::string_view name) const {
  for (const auto& [key, value] : params) {
    if (key == name) return value;
  }
  return {};
}

std::string HttpRequest::query_value(std::string_view name) const {
  std::string_view rest = query;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (percent_decode(pair.substr(0, equals)) != name) continue;
    std::string value(pair.substr(std::min(equals + 1, pair.size())));
    std::replace(value.begin(), value.end(), '+', ' ');
    return percent_decode(value);
  }
  return {};
}

const char* name_of(CancelReason reason) {
  switch (reason) {
    case CancelReason::kNone:
      return "none";
    case CancelReason::kClientGone:
      return "client_gone";
    case CancelReason::kSlowReader:
      return "slow_reader";
    case CancelReason::kShutdown:
      return "shutdown";
  }
  return "none";
}

// Shared by the copies of a Responder; its end is the end of the last copy.
struct Responder::Handle {
  explicit Handle(std::shared_ptr<Exchange> e) : exchange(std::move(e)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { exchange->abandon(); }
  const std::shared_ptr<Exchange> exchange;
};

Responder::Responder(std::shared_ptr<Exchange> exchange) : handle_(std::make_shared<Handle>(std::move(exchange))) {}

void Responder::respond(HttpResponse response) const {
  if (handle_) handle_->exchange->respond(std::move(response));
}

void Responder::begin_stream(int status, Headers headers, std::string heartbeat) const {
  if (handle_) handle_->exchange->begin_stream({status, std::move(headers), {}}, std::move(heartbeat));
}

void Responder::begin_sse(Headers more_headers) const {
  Headers headers = sse_headers();
  for (Header& h : more_headers) headers.push_back(std::move(h));
  begin_stream(200, std::move(headers), sse_comment("keep-alive"));
}

WriteResult Responder::write(std::string piece) const {
  return handle_ ? handle_->exchange->write(std::move(piece)) : WriteResult::kGone;
}

WriteResult Responder::write_repeat(std::string piece) const {
  return handle_ ? handle_->exchange->write_repeat(std::move(piece)) : WriteResult::kGone;
}

void Responder::finish() const {
  if (handle_) handle_->exchange->finish();
}

void Responder::on_cancel(std::function<void(CancelReason)> callback) const {
  if (handle_) handle_->exchange->on_cancel(std::move(callback));
}

CancelReason Responder::cancelled() const { return handle_ ? handle_->exchange->cancelled() : CancelReason::kClientGone; }
double Responder::received() const { return handle_ ? handle_->exchange->received() : 0; }

}  // namespace sluice
