// Requests, responses, and the object by which a handler answers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

struct Header {
  std::string name, value;
};
using Headers = std::vector<Header>;

struct HttpRequest {
  std::string method;  // GET, POST, ...
  std::string path;    // as sent, without the query
  std::string query;   // without the '?'
  Headers headers;
  std::string body;
  std::vector<std::pair<std::string, std::string>> params;  // of the route's pattern, percent-decoded
  std::string id;                                           // X-Request-Id: the client's if it is well-formed, else a new one
  std::string peer;                                         // the client's address
  bool http11 = true;

  // The first header of this name, in any case; empty if there is none.
  std::string_view header(std::string_view name) const;
  std::string_view param(std::string_view name) const;
  // A value of the query, percent-decoded; empty if absent.
  std::string query_value(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  Headers headers;  // Content-Length, Connection, Date and X-Request-Id are the server's
  std::string body;
};

// An error that the server itself answers, for the formatter that gives it the API's shape.
struct HttpError {
  int status = 500;
  std::string message;
  std::string path;  // empty where the request could not be read
  std::string request_id;
};
using ErrorFormatter = std::function<HttpResponse(const HttpError&)>;

enum class WriteResult {
  kOk,
  kSlow,  // taken, and the queue is over half its limit: the client reads slower than the handler writes
  kGone,  // not taken: the client is gone, was too slow, or the stream has ended
};

enum class CancelReason { kNone, kClientGone, kSlowReader, kShutdown };
const char* name_of(CancelReason reason);

class Exchange;

// Answers one request, once or as a stream, from any thread; copies answer the same request. When the last copy goes without an
// answer, the client gets 500, or a stream that is visibly cut. Calls after the answer's end do nothing.
class Responder {
 public:
  Responder() = default;
  explicit Responder(std::shared_ptr<Exchange> exchange);

  void respond(HttpResponse response) const;
  void respond(int status, Headers headers, std::string body) const { respond({status, std::move(headers), std::move(body)}); }

  // A stream: begin, write..., finish. `heartbeat` is sent when nothing was written for a while (limits.h), for SSE a comment.
  void begin_stream(int status, Headers headers, std::string heartbeat = {}) const;
  // With the headers of server-sent events and a comment as heartbeat; write() whole events (sse.h).
  void begin_sse(Headers more_headers = {}) const;
  // Never blocks. A stream over its limit is cancelled; a single piece of any size is taken by an empty queue.
  WriteResult write(std::string piece) const;
  // Of what the handler holds anyway, such as the whole text at a stream's end: taken at any size, and the stream's limit grows by
  // it.
  WriteResult write_repeat(std::string piece) const;
  void finish() const;

  // Called once, when the client has gone, reads too slowly, or the server shuts down; at once if that has happened, never after
  // the answer's end. On an I/O thread or in write(): it must not block. After kShutdown a last write() and finish() still go out.
  void on_cancel(std::function<void(CancelReason)> callback) const;
  CancelReason cancelled() const;
  // now_seconds() when the request had been read; 0 of an empty Responder.
  double received() const;

 private:
  struct Handle;
  std::shared_ptr<Handle> handle_;
};

bool equal_ignoring_case(std::string_view a, std::string_view b);
// %41 -> A; bad escapes stay as they are.
std::string percent_decode(std::string_view text);

}  // namespace sluice
