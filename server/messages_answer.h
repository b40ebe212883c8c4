// The engine's events to the answer of /v1/messages: one message, or a stream of events that a client puts together to the same.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "server/answer_parts.h"
#include "server/answer_stream.h"

namespace sluice {

struct MessagesAnswerOptions {
  std::string id, model, request_id;
  bool stream = false;
  bool show_thinking = true, parallel_calls = true;
  OutputFormat format;
  boost::json::value tools;
};

class MessagesAnswer : public AnswerSink {
 public:
  MessagesAnswer(MessagesAnswerOptions options, Responder responder);
  void begin() override;
  void event(size_t choice, const Event& event) override;
  void end() override;
  bool end_is_long() const override { return !o_.stream; }
  void fail(const ApiError& error, bool begun) override;

 private:
  enum class Kind { kNone, kThinking, kText, kToolUse };
  struct Block {
    Kind kind;
    std::string text;      // of a call: its input, as JSON
    std::string id, name;  // of a call
  };

  void start(const Usage& usage);
  void take(const OutputEvent& part);
  void open_block(Block block);
  void close_block();
  void add(Kind kind, const std::string& text);
  void finish(const Event& event);
  // An event of the stream, if there is one.
  void send(std::string_view name, boost::json::object data);

  boost::json::object message(const Usage& usage) const;
  boost::json::object usage_object(const Usage& usage) const;
  std::string content() const;

  const MessagesAnswerOptions o_;
  const Responder responder_;
  AnswerParts parts_;
  std::vector<Block> blocks_;
  Kind open_ = Kind::kNone;  // of the last block
  bool started_ = false, broken_call_ = false;
  boost::json::value stop_reason_, stop_sequence_;
  Usage usage_;
  std::string out_;  // of the event in hand
};

}  // namespace sluice
