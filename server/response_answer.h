// The engine's events to the answer of /v1/responses: one object, or a stream of events of which a client can build it.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "server/answer_parts.h"
#include "server/answer_stream.h"
#include "server/openai_common.h"
#include "server/text_tokens.h"

namespace sluice {

struct ResponseAnswerOptions {
  boost::json::object response;  // all that is known before the answer is
  bool stream = false;
  bool logprobs = false, tokens_as_ids = false;
  bool include_reasoning = true, parallel_calls = true;
  bool include_stop = false;  // the stop token is part of the answer
  OutputFormat format;
  boost::json::value tools;  // in the shape that OutputParser takes
};

class ResponseAnswer : public AnswerSink {
 public:
  ResponseAnswer(ResponseAnswerOptions options, const Service& service, Responder responder);
  void begin() override;
  void event(size_t choice, const Event& event) override;
  void end() override;
  bool end_is_long() const override { return true; }  // also of a stream: it has the whole answer again
  void fail(const ApiError& error, bool begun) override;

 private:
  enum class Kind { kReasoning, kMessage, kCall };
  struct Item {
    Kind kind;
    std::string id, name, call_id;
    std::string text;  // or a call's arguments
    boost::json::array logprobs;
    const char* status = "in_progress";
  };

  void take(const OutputEvent& part);
  void open(Kind kind, const std::string& name = {});
  // To an item of this kind, the open one or a new one.
  void add_text(Kind kind, const std::string& text, boost::json::array logprobs);
  void add(const std::string& text, boost::json::array logprobs);
  void close(const char* status);

  boost::json::array logprobs_of(const std::vector<SampledToken>& tokens) const;
  static boost::json::object part_object(const Item& item);
  static boost::json::object item_object(const Item& item, bool begun);
  // Fields of an event about the last item.
  boost::json::object place() const;
  void emit(const char* type, boost::json::object event);
  void flush();
  boost::json::object response_object(const char* status);

  const ResponseAnswerOptions o_;
  const Service& service_;
  const Responder responder_;
  AnswerParts parts_;
  TextTokens tokens_;
  std::vector<Item> items_;
  bool open_ = false;  // the last item goes on
  FinishReason finish_ = FinishReason::kNone;
  UsageSum usage_;
  int64_t sequence_ = 0;
  std::string out_;       // events that wait to be written
  bool repeats_ = false;  // they have texts that were sent before, whole
};

}  // namespace sluice
