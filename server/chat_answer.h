// The engine's events to the answer of /v1/chat/completions: one object, or a stream of chunks.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <deque>
#include <string>
#include <vector>

#include "server/answer_parts.h"
#include "server/answer_stream.h"
#include "server/openai_common.h"

namespace sluice {

struct ChatAnswerOptions {
  AnswerHead head;
  int n = 1;
  bool stream = false, include_usage = false;
  bool logprobs = false, tokens_as_ids = false, return_token_ids = false;
  bool include_reasoning = true, parallel_calls = true;
  bool include_stop = false;  // the stop token is part of the answer
  OutputFormat format;
  boost::json::value tools;
  std::string echo;             // put before each choice's content
  std::vector<int32_t> prompt;  // for prompt_token_ids
  bool prompt_logprobs = false;
};

class ChatAnswer : public AnswerSink {
 public:
  ChatAnswer(ChatAnswerOptions options, const Service& service, Responder responder);
  void begin() override;
  void event(size_t choice, const Event& event) override;
  void end() override;
  bool end_is_long() const override { return !o_.stream; }
  void fail(const ApiError& error, bool begun) override;

 private:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    explicit Choice(const ChatAnswerOptions& o) : parts(o.format, o.tools, o.parallel_calls), content(o.echo) {}
    AnswerParts parts;
    std::string content, reasoning;
    std::vector<Call> calls;
    bool broken_call = false;
    std::vector<SampledToken> logprobs;  // in a stream: those that wait for the next chunk
    std::vector<int32_t> ids;            // the same
    const char* finish = nullptr;
    boost::json::value stop_reason;
  };

  void take_tokens(Choice& c, const Event& e);
  // The delta of a part; empty where there is nothing to send.
  boost::json::object delta(Choice& c, const OutputEvent& part);
  void finish_choice(size_t index, const Event& e);
  void chunk(size_t index, boost::json::object delta, const char* finish);
  boost::json::object choice_object(size_t index);
  boost::json::value take_logprobs(Choice& c);

  const ChatAnswerOptions o_;
  const Service& service_;
  const Responder responder_;
  std::deque<Choice> choices_;
  std::vector<SampledToken> prompt_logprobs_;
  UsageSum usage_;
  std::string out_;  // chunks of the event in hand
};

}  // namespace sluice
