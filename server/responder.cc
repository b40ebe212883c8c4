#include "server/exchange.h"
#include "server/message.h"
#include "server/sse.h"

namespace sluice {

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
