// Reads the streamed answer of /v1/completions or /v1/chat/completions and notes when each output came.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "bench_client/record.h"
#include "bench_client/sse_reader.h"

namespace sluice::bench {

// Kinds of error; "HTTP 429" and the like are others.
inline constexpr const char *kCannotConnect = "cannot connect", *kLost = "connection lost", *kTimeout = "timeout",
                            *kMalformed = "malformed answer", *kServerError = "error in the stream", *kCutShort = "cut short",
                            *kNoOutput = "no output";

class AnswerReader {
 public:
  AnswerReader(bool chat, RequestRecord& record) : chat_(chat), record_(record) {}

  // Bytes of the body that came at `now`, seconds from the start of the run.
  void feed(std::string_view bytes, double now);
  // The body ended as its framing says it should.
  void finish(double now);

  bool failed() const { return !record_.ok(); }
  const std::string& text() const { return text_; }  // what a following turn repeats

 private:
  void event(std::string_view data, double now);
  void read(const boost::json::object& o, double now);
  void note_output(double now);
  void note_usage(const boost::json::object& usage);
  void fail(const char* kind, std::string detail);

  bool chat_;
  RequestRecord& record_;
  SseReader sse_;
  std::string text_;
  int64_t outputs_ = 0;  // events that carried some
  double last_choice_ = 0;
  bool done_ = false, finished_ = false, has_usage_ = false;
};

}  // namespace sluice::bench
